"""The Responses wire's pure parts: bodies, answers and failures."""

import contextlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.agent_settings import ModelSettings
from tertulia.definitions import ToolSpec
from tertulia.errors import (
    AnswerGone,
    ContextTooLong,
    ModelBusy,
    ModelError,
    ModelMalformed,
    ModelRefused,
    ModelUnreachable,
)
from tertulia.llms.base import Begun, Finished, LLMEvent, Prompt, ReasoningDelta, Shown, TextDelta
from tertulia.llms.wire import responses_answer, responses_frames, speech
from tertulia.llms.wire.responses_answer import ResponsesAnswer
from tertulia.llms.wire.responses_body import Dialect, encode
from tertulia.llms.wire.responses_failures import failure_in, gone, lacking
from tertulia.llms.wire.responses_items import WIRE, encode_items
from tertulia.memory.transcript import Transcript
from tertulia.messages import Role, clean_text
from tertulia.parts import Media, Part, Reasoning, Text, ToolCall, ToolResult, Unknown

ANY_TEXT = st.text(st.characters(codec=None) | st.sampled_from("\x00\ud83d\ude00"))
HI = Shown(role="user", text="hi")
LOOK_UP = ToolSpec(name="look_up", description="Find it.", parameters={"type": "object"})
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"}


def body(prompt: Prompt, dialect: Dialect = Dialect()) -> dict[str, Any]:  # noqa: B008  # never changes
    found = json.loads(encode("m", prompt, dialect))
    assert isinstance(found, dict)
    return found


def items(*messages: Shown) -> list[dict[str, Any]]:
    found = body(Prompt(messages=messages))["input"]
    assert isinstance(found, list)
    return found


def event(kind: str, **more: object) -> bytes:
    return f"event: {kind}\ndata: ".encode() + json.dumps({"type": kind, **more}).encode() + b"\n\n"


def response(*output: object, **more: object) -> dict[str, object]:
    usage = {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 3},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
    }
    named = {"id": "resp_1", "object": "response", "model": "m-1", "status": "completed"}
    return {**named, "output": list(output), "usage": usage, **more}


def message(*texts: str) -> dict[str, object]:
    return {"type": "message", "content": [{"type": "output_text", "text": text} for text in texts]}


def call(ident: str = "call_1", arguments: object = "{}", **more: object) -> dict[str, object]:
    return {"type": "function_call", "call_id": ident, "name": "look_up", "arguments": arguments, **more}


def completed(*output: object, **more: object) -> bytes:
    return event("response.completed", response=response(*output, **more))


def said(delta: str, **more: object) -> bytes:
    return event("response.output_text.delta", delta=delta, **more)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(stream) + 1) for place in places}), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


def heard(*chunks: bytes, answer: ResponsesAnswer | None = None) -> tuple[list[LLMEvent], Finished]:
    answer = answer or ResponsesAnswer("asked-for")
    events = [event for chunk in chunks for event in answer.feed(chunk)]
    events += answer.end()
    return events, answer.finished()


def text_of(events: Sequence[LLMEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def thought_of(events: Sequence[LLMEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, ReasoningDelta))


# Bodies


def test_plain_prompt_is_asked_for_without_being_kept() -> None:
    messages = (Shown(role="system", text="Be brief."), HI, Shown(role="assistant", text="Hello."))

    asked = body(Prompt(messages=messages))

    assert asked == {
        "model": "m",
        "input": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "Hello."},
        ],
        "store": False,
        "stream": True,
    }


def test_body_says_everything_that_was_asked() -> None:
    settings = ModelSettings(
        temperature=0.5, max_tokens=99, top_p=0.9, stop=("END",), seed=7, presence_penalty=1, store=True
    )
    prompt = Prompt(
        messages=(HI,),
        settings=settings,
        tools=(LOOK_UP,),
        response_schema={"type": "object"},
        wants_deltas=False,
        follows="resp_0",
    )

    asked = body(prompt)

    del asked["input"]
    schema = {"type": "json_schema", "name": "answer", "schema": {"type": "object"}, "strict": False}
    assert asked == {
        "model": "m",
        "store": True,
        "previous_response_id": "resp_0",
        "temperature": 0.5,
        "max_output_tokens": 99,
        "top_p": 0.9,
        "text": {"format": schema},
        "tools": [
            {
                "type": "function",
                "name": "look_up",
                "description": "Find it.",
                "parameters": {"type": "object"},
                "strict": False,
            }
        ],
    }


def test_answer_is_never_limited_to_less_than_the_api_takes() -> None:
    asked = body(Prompt(messages=(HI,), settings=ModelSettings(max_tokens=1)))

    assert asked["max_output_tokens"] == 16


def test_background_work_is_kept_and_streamed() -> None:
    asked = body(Prompt(messages=(HI,), settings=ModelSettings(background=True), wants_deltas=False))

    assert (asked["background"], asked["store"], asked["stream"]) == (True, True, True)


@pytest.mark.parametrize(
    ("settings", "tools", "include"),
    [
        (ModelSettings(reasoning_effort="low"), (), True),
        (ModelSettings(), (LOOK_UP,), True),
        (ModelSettings(), (), False),
        (ModelSettings(reasoning_effort="none"), (LOOK_UP,), False),
        (ModelSettings(reasoning_effort="low", store=True), (), False),
    ],
)
def test_reasoning_is_asked_for_where_it_has_to_be_given_back(
    settings: ModelSettings, tools: tuple[ToolSpec, ...], include: bool
) -> None:
    asked = body(Prompt(messages=(HI,), settings=settings, tools=tools))

    assert asked.get("include") == (["reasoning.encrypted_content"] if include else None)


def test_reasoning_is_asked_to_be_told_in_short() -> None:
    told = body(Prompt(messages=(HI,), settings=ModelSettings(reasoning_effort="high")))
    untold = body(Prompt(messages=(HI,), settings=ModelSettings(reasoning_effort="none")))

    assert told["reasoning"] == {"effort": "high", "summary": "auto"}
    assert untold["reasoning"] == {"effort": "none"}


def test_what_a_server_lacks_is_not_asked_for() -> None:
    prompt = Prompt(messages=(HI,), settings=ModelSettings(background=True, reasoning_effort="low"))

    asked = body(prompt, Dialect().without("keeping").without("encrypting").without("summing_up"))

    assert asked["store"] is False
    assert asked["reasoning"] == {"effort": "low"}
    assert not {"background", "include"} & asked.keys()


def test_turn_with_tools_is_given_back_in_its_order() -> None:
    thought = Reasoning(text="Hm.", provider="openai", opaque=json.dumps(THOUGHT))
    wish = ToolCall(id="call_1", name="look_up", arguments='{"q":1}')
    spoken = (thought, Text(text="One moment."), wish)

    found = items(
        HI,
        Shown(role="assistant", text="One moment.", parts=spoken),
        Shown(role="tool", text="42", parts=(ToolResult(call_id="call_1", name="look_up", text="42"),)),
    )

    assert found[1:] == [
        THOUGHT,
        {"role": "assistant", "content": "One moment."},
        {"type": "function_call", "call_id": "call_1", "name": "look_up", "arguments": '{"q":1}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "42"},
    ]


@pytest.mark.parametrize(
    "thought",
    [
        Reasoning(text="Hm.", provider="anthropic", opaque=json.dumps(THOUGHT)),
        Reasoning(text="Hm.", provider="openai"),
        Reasoning(text="Hm.", provider="openai", opaque="no JSON"),
        Reasoning(text="Hm.", provider="openai", opaque='{"type":"message"}'),
    ],
)
def test_other_reasoning_is_not_given_back(thought: Reasoning) -> None:
    found = items(Shown(role="assistant", text="Yes.", parts=(thought, Text(text="Yes."))))

    assert found == [{"role": "assistant", "content": "Yes."}]


def test_media_are_shown_as_what_they_are() -> None:
    shown = Shown(
        role="user",
        text="Look:",
        parts=(
            Text(text="Look:"),
            Media(kind="image", media_type="image/jpeg", base64="QQ=="),
            Media(kind="image", url="https://example.org/a.png"),
            Media(kind="file", media_type="text/csv", base64="QQ==", name="a.csv"),
            Media(kind="file", url="https://example.org/a.pdf"),
            Media(kind="audio", media_type="audio/mpeg", base64="QQ=="),
            Unknown(raw={"type": "hologram"}),
        ),
    )

    [found] = items(shown)

    assert found["content"] == [
        {"type": "input_text", "text": "Look:"},
        {"type": "input_image", "detail": "auto", "image_url": "data:image/jpeg;base64,QQ=="},
        {"type": "input_image", "detail": "auto", "image_url": "https://example.org/a.png"},
        {"type": "input_file", "filename": "a.csv", "file_data": "data:text/csv;base64,QQ=="},
        {"type": "input_file", "file_url": "https://example.org/a.pdf"},
        {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "mp3"}},
    ]


@pytest.mark.parametrize(
    "sound",
    [
        Media(kind="audio", url="https://example.org/a.wav"),
        Media(kind="audio", media_type="audio/ogg", base64="QQ=="),
    ],
)
def test_recording_that_cannot_be_sent_is_refused(sound: Media) -> None:
    with pytest.raises(ModelRefused, match="recordings"):
        items(Shown(role="user", text="", parts=(sound,)))


def test_speaker_s_name_stands_before_what_they_said() -> None:
    image = Media(kind="image", url="https://example.org/a.png")

    plain, shown = items(
        Shown(role="user", text="hi", name="Zoë"), Shown(role="user", text="", name="Zoë", parts=(image,))
    )

    assert plain["content"] == "Zoë: hi"
    assert shown["content"][0] == {"type": "input_text", "text": "Zoë: "}


def test_message_is_encoded_once() -> None:
    shown = Shown(role="user", text="hello")
    encode_items(shown)

    shown.wire[WIRE] = b'{"noted":1}'

    assert items(shown, shown) == [{"noted": 1}, {"noted": 1}]


def test_joined_history_is_the_same_as_a_list() -> None:
    wish = ToolCall(id="call_1", name="look_up", arguments="{}")
    result = ToolResult(call_id="call_1", name="look_up", text="42")
    messages = [
        HI,
        Shown(role="assistant", text="", parts=(Text(text="Wait."), wish)),
        Shown(role="tool", text="42", parts=(result,)),
    ]
    opening = (Shown(role="system", text="Be brief."),)

    joined = encode("m", Prompt(messages=Transcript(messages).passage(opening=opening)), Dialect())

    assert joined == encode("m", Prompt(messages=(*opening, *messages)), Dialect())


def parts_of(texts: st.SearchStrategy[str]) -> Mapping[str, st.SearchStrategy[Part]]:
    return {
        "system": st.builds(Text, text=texts),
        "user": st.builds(Text, text=texts)
        | st.builds(Media, kind=st.sampled_from(["image", "file"]), base64=st.just("QQ=="), name=texts)
        | st.builds(Unknown, raw=st.just({"type": "hologram"})),
        "assistant": st.builds(Text, text=texts)
        | st.builds(ToolCall, id=texts, name=texts, arguments=texts, opaque=texts)
        | st.builds(Reasoning, text=texts, provider=st.just("openai"), opaque=texts),
        "tool": st.builds(ToolResult, call_id=texts, name=texts, text=texts),
    }


@st.composite
def conversations(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> list[Shown]:
    messages = []
    for role in draw(st.lists(st.sampled_from(ROLES), max_size=6)):
        least, most = (1, 1) if role == "tool" else (0, 4)
        parts = tuple(draw(st.lists(parts_of(texts)[role], min_size=least, max_size=most)))
        said = [part.text for part in parts if isinstance(part, Text)]
        text = "".join(said) if parts else draw(texts)
        messages.append(Shown(role=role, text=text, parts=parts, name=draw(st.none() | texts)))
    return messages


@given(messages=conversations(st.text()))
def test_nothing_of_a_conversation_is_lost(messages: list[Shown]) -> None:
    found = items(*messages)

    parts = [part for shown in messages for part in shown.parts]
    spoken = [" ".join((shown.name or "").split()) if shown.role == "user" else "" for shown in messages]
    names = [f"{name}: " if name else "" for name in spoken]
    told = [name + shown.text for name, shown in zip(names, messages, strict=True) if shown.role != "tool"]
    assert "".join(words(item) for item in found) == "".join(told)
    assert [item["output"] for item in found if item.get("type") == "function_call_output"] == [
        part.text for part in parts if isinstance(part, ToolResult)
    ]
    assert sum(item.get("type") == "function_call" for item in found) == sum(
        isinstance(part, ToolCall) for part in parts
    )


@given(messages=conversations(ANY_TEXT))
def test_text_that_no_encoder_takes_does_not_stop_it(messages: list[Shown]) -> None:
    found = items(*messages)

    assert len(found) >= len(messages)


def words(item: Mapping[str, Any]) -> str:
    content = item.get("content", "")
    if isinstance(content, str):
        return content
    return "".join(block["text"] for block in content if block["type"] == "input_text")


# Answers


@given(
    pieces=st.lists(ANY_TEXT, min_size=1),
    thoughts=st.lists(ANY_TEXT),
    places=st.lists(st.integers(0, 20_000)),
)
def test_answer_is_the_same_wherever_its_bytes_are_cut(
    pieces: list[str], thoughts: list[str], places: list[int]
) -> None:
    whole = "".join(pieces)
    stream = event("response.created", response=response(status="in_progress"))
    stream += b"".join(event("response.reasoning_summary_text.delta", delta=each) for each in thoughts)
    stream += b"".join(said(each, output_index=1) for each in pieces)
    stream += event("response.output_item.done", item=call("call_7", '{"a":"é"}'))
    stream += completed(THOUGHT, message(whole), call("call_7", '{"a":"é"}'))

    events, finished = heard(*cut(stream, places))

    assert finished.text == text_of(events) == clean_text(whole)
    assert thought_of(events) == clean_text("".join(thoughts))
    assert finished.calls == (ToolCall(id="call_7", name="look_up", arguments='{"a":"é"}'),)
    assert (finished.model, finished.finish_reason) == ("m-1", "tool_calls")
    assert finished.usage.output_tokens == 5


@given(text=ANY_TEXT, places=st.lists(st.integers(0, 1000)))
def test_plain_answer_is_understood(text: str, places: list[int]) -> None:
    plain = "\n " + json.dumps(response(THOUGHT, message(text)), indent=1)

    events, finished = heard(*cut(plain.encode(), places))

    assert finished.text == text_of(events) == clean_text(text)
    usage = finished.usage
    assert (usage.input_tokens, usage.output_tokens, usage.model_calls) == (7, 5, 1)
    assert (usage.cached_tokens, usage.reasoning_tokens) == (3, 2)


def test_reasoning_is_kept_apart_and_can_be_given_back() -> None:
    sections = [{"type": "summary_text", "text": text} for text in ("One.", "Two.")]
    stream = event("response.reasoning_summary_part.added", summary_index=0)
    stream += event("response.reasoning_summary_text.delta", delta="One.", summary_index=0)
    stream += event("response.reasoning_summary_part.added", summary_index=1)
    stream += event("response.reasoning_summary_text.delta", delta="Two.", summary_index=1)
    stream += said("Yes.") + completed(THOUGHT | {"summary": sections, "status": None}, message("Yes."))

    events, finished = heard(stream)

    [kept] = finished.reasoning
    assert events == [ReasoningDelta("One.\n\nTwo."), TextDelta("Yes.")]
    assert (finished.text, kept.text, kept.provider) == ("Yes.", "One.\n\nTwo.", "openai")
    shown = Shown(role="assistant", text="Yes.", parts=(kept, Text(text="Yes.")))
    assert items(shown)[0] == THOUGHT | {"summary": sections}


@pytest.mark.parametrize(("is_kept", "is_given"), [(True, True), (False, False)])
def test_reasoning_without_its_content_is_given_back_only_if_its_provider_kept_it(
    is_kept: bool, is_given: bool
) -> None:
    stream = completed(THOUGHT | {"encrypted_content": None}, message("Yes."))

    _, finished = heard(stream, answer=ResponsesAnswer("m", is_kept=is_kept))

    assert bool(finished.reasoning[0].opaque) is is_given


def test_two_messages_are_told_apart() -> None:
    stream = said("First.", output_index=0) + said("Second.", output_index=1)

    streamed, _ = heard(stream + completed(message("First."), message("Second.")))
    whole, _ = heard(completed(message("First."), message(""), message("Second.")))

    assert text_of(streamed) == text_of(whole) == "First.\n\nSecond."


def test_what_deltas_left_out_is_said_in_the_end() -> None:
    events, finished = heard(said("Hel") + completed(message("Hello.")))

    assert finished.text == text_of(events) == "Hello."


def test_last_event_without_items_takes_them_from_those_before() -> None:
    done = event("response.output_item.done", item=call()) + completed()

    _, finished = heard(done)

    assert [each.id for each in finished.calls] == ["call_1"]


def test_calls_get_ids_that_differ() -> None:
    _, finished = heard(completed(call(""), call("a"), call("a"), call("b", {"q": 1})))

    idents = [each.id for each in finished.calls]
    assert len(set(idents)) == 4
    assert all(idents)
    assert finished.calls[3] == ToolCall(id="b", name="look_up", arguments='{"q":1}')


def test_call_that_was_cut_is_no_call() -> None:
    cut_off = call("call_2", '{"q', status="incomplete")

    _, finished = heard(
        event(
            "response.incomplete",
            response=response(
                call(), cut_off, status="incomplete", incomplete_details={"reason": "max_output_tokens"}
            ),
        )
    )

    assert [each.id for each in finished.calls] == ["call_1"]
    assert finished.finish_reason == "length"


@pytest.mark.parametrize(
    ("reason", "ours"),
    [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("bored", "unknown")],
)
def test_incomplete_answer_says_why(reason: str, ours: str) -> None:
    told = response(message("Hel"), status="incomplete", incomplete_details={"reason": reason})

    _, finished = heard(event("response.incomplete", response=told))

    assert (finished.text, finished.finish_reason) == ("Hel", ours)


def test_declining_is_a_refusal() -> None:
    refused = {"type": "message", "content": [{"type": "refusal", "refusal": "I will not"}]}

    for stream in (
        completed(refused),
        event("response.refusal.delta", delta="I will") + completed(refused),
        json.dumps(response(refused)).encode(),
    ):
        with pytest.raises(ModelRefused, match="declined"):
            heard(stream)


def test_empty_answer_is_an_answer() -> None:
    _, finished = heard(completed(message("")))

    assert (finished.text, finished.finish_reason) == ("", "stop")


def test_answer_without_anything_is_none() -> None:
    for stream in (completed(), json.dumps(response()).encode(), b"", b"data: [DONE]\n\n"):
        with pytest.raises(ModelMalformed):
            heard(stream)


@pytest.mark.parametrize(
    ("code", "leaf"),
    [
        ("server_error", ModelUnreachable),
        ("rate_limit_exceeded", ModelBusy),
        ("context_length_exceeded", ContextTooLong),
        ("invalid_prompt", ModelRefused),
        ("image_too_large", ModelRefused),
        ("of_tomorrow", ModelUnreachable),
        (None, ModelUnreachable),
    ],
)
def test_failed_answer_is_known_by_its_code(code: str | None, leaf: type[ModelError]) -> None:
    error = {"code": code, "message": "SECRET prompt"}

    for stream in (
        event("error", sequence_number=3, param=None, **error),
        event("error", error=error),
        event("response.failed", response=response(status="failed", error=error)),
        json.dumps(response(status="failed", error=error)).encode(),
        json.dumps({"error": error}).encode(),
        b"data: " + json.dumps({"error": error}).encode() + b"\n\n",
    ):
        with pytest.raises(ModelError) as raised:
            heard(stream)
        assert type(raised.value) is leaf
        assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_answer_that_came_to_nothing_without_saying_why_is_unreachable(status: str) -> None:
    with pytest.raises(ModelUnreachable):
        heard(json.dumps(response(status=status, error=None)).encode())


def test_unknown_events_are_passed_over() -> None:
    stream = event("response.hologram.delta", delta=7) + b": comment\n\n" + event("keepalive")

    _, finished = heard(stream + said("Hi.") + completed(message("Hi.")) + b"data: [DONE]\n\n")

    assert finished.text == "Hi."


def test_server_that_only_says_that_it_is_done_is_understood() -> None:
    _, finished = heard(said("Hi.") + b"data: [DONE]\n\n")

    assert (finished.text, finished.finish_reason) == ("Hi.", "unknown")


@pytest.mark.parametrize("lost", [1, 4, 60])
def test_stream_without_its_end_was_cut(lost: int) -> None:
    stream = said("Hi.") + completed(message("Hi."))

    with pytest.raises(ModelUnreachable):
        heard(stream[: -lost - 2])


def test_truncated_utf_8_is_no_more_than_a_cut() -> None:
    whole = said("né").replace(b"\\u00e9", "é".encode())

    with pytest.raises(ModelUnreachable):
        heard(said("Hi.") + whole[: whole.index(b"\xc3") + 1])


@given(junk=st.binary())
def test_junk_raises_nothing_but_our_errors(junk: bytes) -> None:
    for stream in (junk, b"data: " + junk + b"\n\ndata: [DONE]\n", b"{" + junk):
        with pytest.raises(ModelError):
            heard(stream)


NAMES = ["type", "delta", "response", "output", "item", "content", "text", "error", "code", "status", "usage"]
KINDS = sorted(responses_answer._NOTES)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(["message", "reasoning", "failed"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(NAMES), inner),
)


@given(value=JSON, kind=st.sampled_from(KINDS))
def test_wrong_shapes_raise_nothing_but_our_errors(value: object, kind: str) -> None:
    for more in ({"response": value}, {"item": value}, {"response": {"output": value}}, {"error": value}):
        with contextlib.suppress(ModelError):
            heard(event(kind, **more) + completed(message("Hi.")))
    with contextlib.suppress(ModelError):
        heard(json.dumps({"output": value, "usage": value}).encode())


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "MAX_ANSWER", 100)
    monkeypatch.setattr(responses_answer, "MAX_ITEMS", 5000)
    monkeypatch.setattr(responses_frames, "MAX_REPLY", 5000)

    for endless in (
        [said("x" * 60)] * 2,
        [event("response.reasoning_text.delta", delta="x" * 60)] * 2,
        [event("response.output_item.done", item=call("a", "x" * 1000))] * 6,
        [b'data: {"type":"'] + [b"x" * 1000] * 6,
        [b'{"output":"'] + [b"x" * 1000] * 6,
    ):
        with pytest.raises(ModelMalformed):
            heard(*endless)


# Work in the background


def alone(**more: Any) -> ResponsesAnswer:
    return ResponsesAnswer("m", is_kept=True, works_alone=True, **more)


def test_work_in_the_background_is_told_before_anything_else() -> None:
    created = event("response.created", sequence_number=0, response=response(status="queued"))
    again = event("response.in_progress", sequence_number=1, response=response(status="in_progress"))

    events, finished = heard(created + again + said("Hi.") + completed(message("Hi.")), answer=alone())

    assert events == [Begun("resp_1"), TextDelta("Hi.")]
    assert finished.external_id == "resp_1"


def test_server_that_declines_the_background_is_heard_in_the_plain_way() -> None:
    created = event("response.created", response=response(status="in_progress", background=False))
    answer = alone()

    events, _ = heard(created + completed(message("Hi."), store=False), answer=answer)

    assert events == [TextDelta("Hi.")]
    assert answer.finished().external_id is None


@given(replies=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1500)), max_size=6))
def test_answer_over_several_replies_is_the_same(replies: list[tuple[int, int]]) -> None:
    whole = "".join(f"{number} " for number in range(1, 8))
    parts = [event("response.created", sequence_number=0, response=response(status="queued"))]
    parts += [said(f"{number} ", sequence_number=number) for number in range(1, 8)]
    parts += [completed(message(whole), sequence_number=8)]
    answer, events = alone(), []

    for start, length in [*replies, (0, 10_000)]:
        # Some servers begin anew although they were told where to go on.
        newest = -1 if answer.position is None else answer.position
        events += answer.feed(b"".join(parts[min(start, newest + 1) :])[:length])
        events += answer.end()
        if not answer.is_done:
            answer.reopen()

    assert text_of(events) == answer.finished().text == whole
    assert events[0] == Begun("resp_1")
    assert events.count(Begun("resp_1")) == 1


def test_answer_that_is_looked_at_comes_when_it_is_there() -> None:
    answer = ResponsesAnswer("m", goes_on_with="resp_1")

    before = answer.take(response(status="in_progress"))
    was_going_on = answer.goes_on
    after = answer.take(response(message("Hi.")))

    assert (before, was_going_on) == ([], True)
    assert (after, answer.goes_on) == ([TextDelta("Hi.")], False)
    assert answer.finished().external_id == "resp_1"


# Failures


def told(**error: object) -> bytes:
    return json.dumps({"error": error}).encode()


@pytest.mark.parametrize(
    ("status", "body_told"),
    [
        (400, told(code="previous_response_not_found", message="Previous response 'x' not found.")),
        (404, told(message="Response with id 'resp_0' not found.")),
        (400, told(message="Invalid `previous_response_id`.")),
        (404, told(param="previous_response_id", message="?")),
    ],
)
def test_answer_that_cannot_be_followed_is_gone(status: int, body_told: bytes) -> None:
    assert isinstance(gone(status, body_told, "resp_0"), AnswerGone)
    assert gone(status, body_told, None) is None


@pytest.mark.parametrize(
    ("status", "body_told"),
    [(404, told(code="model_not_found")), (500, told(message="resp_0")), (400, b""), (400, b"[7]")],
)
def test_other_failures_are_no_such_thing(status: int, body_told: bytes) -> None:
    assert gone(status, body_told, "resp_0") is None


@pytest.mark.parametrize(
    "error",
    [
        {"message": "Conversation with id 'conv_0' not found."},
        {"code": "conversation_not_found", "message": "?"},
        {"param": "conversation", "message": "Invalid."},
        {"message": "No tool output found for function call call_1."},
        {"message": "No tool call found for function call output with call_id call_1."},
    ],
)
def test_conversation_that_cannot_be_gone_on_with_is_gone(error: dict[str, str]) -> None:
    assert isinstance(gone(400, told(**error), "conv_0"), AnswerGone)
    assert isinstance(failure_in({"type": "error", **error}, "conv_0"), AnswerGone)
    assert isinstance(failure_in({"status": "failed", "error": error}, "conv_0"), AnswerGone)
    assert gone(400, told(**error), None) is None
    assert not isinstance(failure_in({"error": error}), AnswerGone)


def test_conversation_in_use_is_not_gone() -> None:
    error = {"code": "conversation_locked", "param": "conversation", "message": "conv_0 is in use"}

    assert gone(400, told(**error), "conv_0") is None
    assert isinstance(failure_in({"error": error}, "conv_0"), ModelBusy)


def test_what_goes_on_is_kept_without_reasoning_being_sent_back() -> None:
    thinking = ModelSettings(reasoning_effort="low", store=False)

    asked = body(Prompt(messages=(HI,), settings=thinking, within="conv_0", follows="resp_0"))

    assert (asked["store"], asked["conversation"]) == (True, "conv_0")
    assert not {"previous_response_id", "include"} & asked.keys()


def test_server_that_cannot_work_alone_may_keep_answers() -> None:
    prompt = Prompt(messages=(HI,), settings=ModelSettings(background=True, store=True))
    dialect = Dialect().without("working_alone")

    asked = body(prompt, dialect)

    assert asked["store"] is True
    assert "background" not in asked
    assert dialect.used(prompt) == {"keeping"}


def test_what_a_server_lacks_is_understood_if_it_was_used() -> None:
    used = Dialect().used(
        Prompt(messages=(HI,), settings=ModelSettings(reasoning_effort="low"), tools=(LOOK_UP,))
    )

    assert used == {"encrypting", "summing_up"}
    assert lacking(400, told(message="Encrypted content is not supported", param="include"), used) == (
        "encrypting"
    )
    assert lacking(400, told(param="reasoning.summary", message="must be verified"), used) == "summing_up"
    assert lacking(400, told(message="background is not supported"), used) is None
    assert lacking(400, told(message="bad temperature"), used) is None
    assert lacking(500, told(param="include"), used) is None
    assert lacking(501, told(message="`store=True` is not supported"), frozenset({"keeping"})) == "keeping"


def test_failure_of_an_unknown_form_is_still_one() -> None:
    assert isinstance(failure_in({"error": 7}), ModelUnreachable)
    assert isinstance(failure_in({}), ModelUnreachable)


def test_dialect_is_not_changed_by_what_is_found_lacking() -> None:
    dialect = Dialect()

    assert dialect.without("keeping") == replace(dialect, lacks=frozenset({"keeping"}))
    assert dialect == Dialect()
