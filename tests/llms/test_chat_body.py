"""Bodies of chat completions: every conversation of ours is one that OpenAI takes."""

import json
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.agent_settings import ModelSettings
from tertulia.definitions import ToolSpec
from tertulia.errors import ModelRefused
from tertulia.llms.base import Prompt, Shown
from tertulia.llms.wire.body import WIRE, Dialect, encode
from tertulia.llms.wire.content import arguments, wire_id
from tertulia.llms.wire.tool_list import _Known, encode_tools, parameters
from tertulia.parts import Media, Part, Reasoning, Text, ToolCall, ToolResult, Unknown
from tests.llms.chat_rules import check_body

ANY_TEXT = st.text(st.characters(codec=None) | st.sampled_from("\x00\ud83d\ude00"), max_size=20)
ADDRESS = "https://example.com/a.png"


def texts() -> st.SearchStrategy[Part]:
    return st.builds(Text, text=ANY_TEXT)


def media() -> st.SearchStrategy[Part]:
    kinds = {"image": "image/png", "audio": "audio/mpeg", "file": "application/pdf"}
    whole = st.sampled_from(sorted(kinds)).flatmap(
        lambda kind: st.builds(
            Media,
            kind=st.just(kind),
            media_type=st.sampled_from(["", kinds[kind]]),
            base64=st.just("AAAA"),
            name=ANY_TEXT,
        )
    )
    return whole | st.just(Media(kind="image", url=ADDRESS))


def odd_parts() -> st.SearchStrategy[Part]:
    return st.sampled_from([Unknown(raw={"type": "smell"}), Reasoning(text="Hm.", provider="x", opaque="{")])


@st.composite
def said_by_users(draw: st.DrawFn) -> list[Shown]:
    parts = draw(st.just(()) | st.lists(texts() | media() | odd_parts(), min_size=1).map(tuple))
    text = "".join(part.text for part in parts if isinstance(part, Text)) if parts else draw(ANY_TEXT)
    return [Shown(role="user", text=text, name=draw(st.none() | ANY_TEXT), parts=parts)]


@st.composite
def said_by_assistants(draw: st.DrawFn) -> list[Shown]:
    text = draw(ANY_TEXT)
    ids = draw(st.lists(ANY_TEXT, max_size=3, unique=True))
    calls = [ToolCall(id=ident, name=draw(ANY_TEXT), arguments=draw(ANY_TEXT)) for ident in ids]
    around: list[Part] = draw(st.lists(odd_parts(), max_size=2))
    parts: tuple[Part, ...] = (*around, Text(text=text), *calls) if calls or around else ()
    told = [ToolResult(call_id=call.id, name=call.name, text=draw(ANY_TEXT)) for call in calls]
    order = draw(st.permutations(told))
    results = [Shown(role="tool", text="", parts=(result,)) for result in order]
    return [Shown(role="assistant", text=text, name=draw(st.none() | ANY_TEXT), parts=parts), *results]


CONVERSATIONS = st.lists(
    said_by_users()
    | said_by_assistants()
    | st.builds(Shown, role=st.just("system"), text=ANY_TEXT).map(lambda s: [s]),
    min_size=1,
    max_size=6,
).map(lambda said: tuple(shown for each in said for shown in each))

SPEC = ToolSpec(name="weather", description="Tells.", parameters=MappingProxyType({"type": "object"}))


@given(messages=CONVERSATIONS, tools=st.sampled_from([(), (SPEC,)]))
def test_every_conversation_is_one_that_may_be_asked(
    messages: tuple[Shown, ...], tools: tuple[ToolSpec, ...]
) -> None:
    prompt = Prompt(messages=messages, tools=tools)

    first, again = encode("m", prompt, Dialect()), encode("m", prompt, Dialect())

    asked = check_body(first)
    assert [message["role"] for message in asked["messages"]] == [shown.role for shown in messages]
    assert first == again


CALL = {"id": "a", "type": "function", "function": {"name": "clock", "arguments": "{}"}}


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "tool", "content": "", "tool_call_id": "a"}],
        [{"role": "assistant", "content": None, "tool_calls": [CALL]}],
        [
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "user", "content": "?"},
            {"role": "tool", "content": "", "tool_call_id": "a"},
        ],
        [{"role": "assistant", "content": None}],
        [{"role": "assistant", "content": None, "tool_calls": []}],
        [{"role": "user", "content": []}],
        [{"role": "user", "content": "?", "name": "Zoë"}],
        [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": ADDRESS}}]}],
    ],
)
def test_the_rules_refuse_what_may_not_be_asked(messages: list[dict[str, object]]) -> None:
    with pytest.raises((AssertionError, ValueError)):
        check_body(json.dumps({"model": "m", "messages": messages}).encode())


def encoded(shown: Shown) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(encode("m", Prompt(messages=(shown,)), Dialect()))["messages"][0]
    return found


def test_calls_and_results_are_shown_as_they_were() -> None:
    call = ToolCall(id="call_1", name="weather", arguments='{"city": "Ulm"}')
    thought = Reasoning(text="I should look.", provider="openai-chat", opaque="secret")

    asked = encoded(Shown(role="assistant", text="", parts=(thought, call)))
    told = encoded(
        Shown(role="tool", text="", parts=(ToolResult(call_id="call_1", name="weather", text="rain"),))
    )

    function = {"name": "weather", "arguments": '{"city": "Ulm"}'}
    assert asked == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
    }
    assert told == {"role": "tool", "content": "rain", "tool_call_id": "call_1"}


def test_words_beside_calls_stay() -> None:
    call = ToolCall(id="call_1", name="clock", arguments="")

    asked = encoded(Shown(role="assistant", text="Wait.", parts=(Text(text="Wait."), call)))

    assert asked["content"] == "Wait."
    assert asked["tool_calls"][0]["function"]["arguments"] == "{}"


def test_media_are_shown_where_they_were() -> None:
    parts = (
        Text(text="See:"),
        Media(kind="image", media_type="image/jpeg", base64="AAAA"),
        Media(kind="image", url=ADDRESS),
        Media(kind="audio", media_type="audio/mpeg", base64="BBBB"),
        Media(kind="file", media_type="application/pdf", base64="CCCC", name="a.pdf"),
        Media(kind="file", url="data:text/plain;base64,DDDD"),
        Unknown(raw={"type": "smell"}),
    )

    shown = encoded(Shown(role="user", text="See:", parts=parts, name="Ann"))

    assert shown == {
        "role": "user",
        "content": [
            {"type": "text", "text": "See:"},
            {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,AAAA"}},
            {"type": "image_url", "image_url": {"url": ADDRESS}},
            {"type": "input_audio", "input_audio": {"data": "BBBB", "format": "mp3"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,CCCC"}},
            {"type": "file", "file": {"filename": "file.txt", "file_data": "data:text/plain;base64,DDDD"}},
        ],
        "name": "Ann",
    }


@pytest.mark.parametrize(("kind", "called"), [("audio", "recordings"), ("file", "documents")])
def test_what_the_wire_takes_as_bytes_only_is_refused_from_an_address(kind: Any, called: str) -> None:
    shown = Shown(role="user", text="", parts=(Media(kind=kind, url="https://example.com/secret"),))

    with pytest.raises(ModelRefused, match=f"takes {called} as bytes only") as refused:
        encoded(shown)

    assert "secret" not in str(refused.value)
    assert WIRE not in shown.wire


def test_tools_are_encoded_once() -> None:
    tools = tuple(ToolSpec(name=name, parameters={"type": "object"}) for name in ("a", "b"))
    prompt = Prompt(messages=(Shown(role="user", text="Hi"),), tools=tools)
    renewed = Prompt(messages=prompt.messages, tools=tuple(list(tools)))
    fewer = Prompt(messages=prompt.messages, tools=tools[:1])

    bodies = [json.loads(encode("m", each, Dialect())) for each in (prompt, renewed, fewer)]

    function = {"name": "a", "parameters": {"type": "object"}}
    assert bodies[0] == bodies[1]
    assert encode_tools(prompt.tools, parameters) is encode_tools(renewed.tools, parameters)
    assert bodies[2]["tools"] == [{"type": "function", "function": function}]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("", "{}"),
        ('{"a": 1}', '{"a": 1}'),
        ("[1]", '{"unreadable":"[1]"}'),
        ('{"a": ', '{"unreadable":"{\\"a\\": "}'),
        ("\ud83d", '{"unreadable":"?"}'),
    ],
)
def test_arguments_are_always_an_object(given: str, shown: str) -> None:
    assert arguments(given) == shown


def test_ids_that_the_wire_cannot_carry_are_replaced_by_the_same_ones() -> None:
    assert wire_id("functions.weather:0") == "functions.weather:0"
    assert wire_id("x" * 41) == wire_id("x" * 41) != wire_id("x" * 42)


@pytest.mark.parametrize(("store", "told"), [(None, False), (False, False), (True, True)])
def test_server_that_keeps_answers_is_told_whether_to(store: bool | None, told: bool) -> None:
    prompt = Prompt(messages=(Shown(role="user", text="Hi"),), settings=ModelSettings(store=store))

    keeping = json.loads(encode("m", prompt, Dialect(is_openai=True)))
    other = json.loads(encode("m", prompt, Dialect()))

    assert keeping["store"] is told
    assert "store" not in other


def test_effort_is_told_and_what_is_ours_is_not() -> None:
    settings = ModelSettings(reasoning_effort="low", timeout=3, background=True, max_turns=4)
    prompt = Prompt(messages=(Shown(role="user", text="Hi"),), settings=settings, wants_deltas=False)

    body = json.loads(encode("m", prompt, Dialect()))

    assert body.keys() == {"model", "messages", "reasoning_effort"}


def test_of_lists_of_tools_no_more_is_kept_than_fits() -> None:
    lists = [(ToolSpec(name=f"tool_{number}", description="x" * 1000),) for number in range(3)]
    first = encode_tools(lists[0], parameters)
    known = _Known(2 * len(first))

    kept = [known.encoded(tools, parameters) for tools in lists]
    again = [known.encoded(tools, parameters) for tools in reversed(lists)]

    assert again == kept[::-1]
    assert [one is other for one, other in zip(again, kept[::-1], strict=True)] == [True, True, False]
