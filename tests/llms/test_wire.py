"""The wire's pure parts: events, text, bodies, failures and answers."""

import contextlib
import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.errors import (
    ContextTooLong,
    ModelBusy,
    ModelError,
    ModelMalformed,
    ModelRefused,
    ModelTimeout,
    ModelUnreachable,
)
from tertulia.ids import is_id
from tertulia.llms.base import Finished, Prompt, ReasoningDelta, Shown, TextDelta
from tertulia.llms.wire import speech, sse
from tertulia.llms.wire.answer import Answer
from tertulia.llms.wire.body import WIRE, Dialect, encode, wire_name
from tertulia.llms.wire.failures import failure_of, failure_within, retry_after
from tertulia.llms.wire.sse import CleanText, EventLines, decode
from tertulia.messages import clean_text
from tertulia.parts import Reasoning

ANY_TEXT = st.text(st.characters(codec=None) | st.sampled_from("\x00\ud83d\ude00"))


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(stream) + 1) for place in places}), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


def heard(chunks: list[bytes]) -> Finished:
    answer = Answer("asked-for")
    for chunk in chunks:
        answer.feed(chunk)
    answer.end()
    return answer.finished()


def outcome(chunks: list[bytes]) -> Finished | str:
    """Return an answer without the ids that were made up for its calls, or why it is none."""
    try:
        whole = heard(chunks)
    except ModelError as error:
        return repr(error)
    assert all(call.id for call in whole.calls)
    assert len({call.id for call in whole.calls}) == len(whole.calls)
    calls = tuple(replace(call, id="" if is_id(call.id, prefix="call") else call.id) for call in whole.calls)
    return replace(whole, calls=calls)


def event(delta: object, *, reason: str | None = None, **more: object) -> bytes:
    return (
        b"data: "
        + json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}], **more}).encode()
    )


@given(places=st.lists(st.integers(0, 10_000)), end=st.sampled_from([b"\n", b"\r\n"]))
def test_events_do_not_depend_on_where_bytes_are_cut(places: list[int], end: bytes) -> None:
    lines = [b": comment", b"event: x", b"data: one", b"", b"data:two", b"id: 7", b"data: thr\xc3\xa9e", b""]
    lines_in, found = EventLines(), []

    for chunk in cut(end.join(lines), places):
        found += lines_in.feed(chunk)
    found += lines_in.rest()

    assert found == [b"one", b"two", b"thr\xc3\xa9e"]


def test_line_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_LINE", 100)
    lines = EventLines()

    with pytest.raises(ModelMalformed):
        for _ in range(100):
            lines.feed(b"data: xx")


@given(text=ANY_TEXT, places=st.lists(st.integers(0, 1000)))
def test_text_is_the_same_however_it_is_cut(text: str, places: list[int]) -> None:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    clean = CleanText()

    shown = [clean.feed(text[start:end]) for start, end in itertools.pairwise(edges)]

    assert "".join(shown) + clean.rest() == clean_text(text)


@given(
    pieces=st.lists(ANY_TEXT, min_size=1),
    places=st.lists(st.integers(0, 10_000)),
    end=st.sampled_from(["\n\n", "\r\n\r\n"]),
)
def test_answer_is_all_that_was_said(pieces: list[str], places: list[int], end: str) -> None:
    events = [event({"role": "assistant", "content": None})]
    events += [event({"content": piece}) for piece in pieces]
    events += [event({}, reason="length", model="m-1"), b"data:[DONE]"]
    stream = b"".join(each + end.encode() for each in events)

    whole = heard(cut(stream, places))

    assert whole.text == clean_text("".join(pieces))
    assert (whole.finish_reason, whole.model) == ("length", "m-1")


PIECES = st.fixed_dictionaries(
    {},
    optional={
        "index": st.integers(0, 2),
        "id": st.none() | st.sampled_from(["", "a", "b"]),
        "function": st.fixed_dictionaries(
            {},
            optional={
                "name": st.none() | st.sampled_from(["", "clock", "weather"]),
                "arguments": st.none() | st.sampled_from(["", "{", "}", "{}", '"a":1']) | ANY_TEXT,
            },
        ),
    },
)
DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "content": st.none() | ANY_TEXT | st.sampled_from(["<think>", "Hm.", "</think>"]),
        "reasoning_content": st.none() | ANY_TEXT,
        "reasoning": st.none() | ANY_TEXT,
        "tool_calls": st.none() | st.lists(PIECES, max_size=3),
        "function_call": st.none(),
    },
)


@given(deltas=st.lists(DELTAS), places=st.lists(st.integers(0, 10_000)))
def test_answer_does_not_depend_on_where_bytes_are_cut(
    deltas: list[dict[str, object]], places: list[int]
) -> None:
    # A first call with a name, so that all that follows is an answer.
    first = {"tool_calls": [{"index": 0, "id": "first", "function": {"name": "clock", "arguments": "{}"}}]}
    events = [*map(event, [first, *deltas]), event({}, reason="stop"), b"data: [DONE]"]
    stream = b"\n\n".join(events)

    whole = outcome([stream])

    assert outcome(cut(stream, places)) == whole
    assert isinstance(whole, str) or whole.finish_reason == "tool_calls"


def test_thoughts_are_told_apart_from_words() -> None:
    answer = Answer("asked-for")

    told = answer.feed(event({"reasoning_content": "Hm.", "content": None}) + b"\n")
    told += answer.feed(event({"role": "assistant", "content": "So.", "reasoning": "!"}) + b"\n")
    told += answer.feed(event({"content": ""}, reason="stop") + b"\n")
    told += answer.end()

    whole = answer.finished()
    assert told == [ReasoningDelta("Hm."), ReasoningDelta("!"), TextDelta("So.")]
    assert (whole.text, whole.reasoning) == ("So.", (Reasoning(text="Hm.!"),))


@pytest.mark.parametrize(
    ("told", "reason"), [("stop", "tool_calls"), (None, "tool_calls"), ("length", "length")]
)
def test_answer_that_only_calls_is_one(told: str | None, reason: str) -> None:
    call = {"index": 0, "id": "a", "function": {"name": "clock", "arguments": "{}"}}

    whole = heard([event({"content": None, "tool_calls": [call]}, reason=told) + b"\ndata: [DONE]\n"])

    assert (whole.text, len(whole.calls), whole.finish_reason) == ("", 1, reason)


def test_text_that_comes_with_calls_is_not_taken_for_all() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "clock", "arguments": "{}"}}

    whole = heard([event({"content": "Wait.", "tool_calls": [call]}) + b"\n", event({}, reason="tool_calls")])

    assert (whole.text, len(whole.calls)) == ("Wait.", 1)


def test_calls_beyond_all_measure_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "MAX_ANSWER", 100)
    piece = {"index": 0, "id": "a", "function": {"name": "clock", "arguments": "x" * 30}}

    with pytest.raises(ModelMalformed, match="too long"):
        heard([event({"tool_calls": [piece]}) + b"\n"] * 4)


@pytest.mark.parametrize(
    ("told", "said", "thought"),
    [
        ({"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 7}}, 9, 7),
        (
            {
                "completion_tokens": 2,
                "completion_tokens_details": {"reasoning_tokens": 7},
                "total_tokens": 14,
            },
            9,
            7,
        ),
        ({"completion_tokens": 2, "completion_tokens_details": None, "total_tokens": 7}, 2, 0),
    ],
)
def test_thinking_is_part_of_what_was_said(told: dict[str, object], said: int, thought: int) -> None:
    usage = {"prompt_tokens": 5, **told}

    whole = heard([event({"content": "So."}, reason="stop", usage=usage)])

    assert (whole.usage.input_tokens, whole.usage.output_tokens, whole.usage.reasoning_tokens) == (
        5,
        said,
        thought,
    )


def test_plain_answer_may_call_and_think() -> None:
    calls = [{"id": "a", "function": {"name": "clock", "arguments": ""}}] * 2
    message = {"content": None, "tool_calls": calls, "reasoning": "Hm."}

    whole = heard([json.dumps({"choices": [{"message": message, "finish_reason": "tool_calls"}]}).encode()])

    assert [call.name for call in whole.calls] == ["clock", "clock"]
    assert whole.reasoning == (Reasoning(text="Hm."),)


@given(text=ANY_TEXT, places=st.lists(st.integers(0, 1000)))
def test_plain_answer_is_understood(text: str, places: list[int]) -> None:
    choice = {"message": {"content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}
    plain = "\n " + json.dumps({"choices": [choice], "usage": usage})

    whole = heard(cut(plain.encode(), places))

    assert whole.text == clean_text(text)
    assert (whole.usage.input_tokens, whole.usage.output_tokens, whole.usage.cached_tokens) == (5, 2, 3)


@given(junk=st.binary())
def test_junk_raises_nothing_but_our_errors(junk: bytes) -> None:
    for stream in (junk, b"data: " + junk + b"\n\ndata: [DONE]\n", b"{" + junk):
        with pytest.raises(ModelError):
            heard([stream])


KEYS = [
    *(
        "choices",
        "delta",
        "content",
        "finish_reason",
        "usage",
        "error",
        "code",
        "tool_calls",
        "function_call",
    ),
    *("function", "index", "id", "name", "arguments", "reasoning", "reasoning_content", "type", "thinking"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
)


@given(value=JSON)
def test_wrong_shapes_raise_nothing_but_our_errors(value: object) -> None:
    for each in (value, {"choices": value}, {"choices": [{"delta": value}]}, {"error": value}):
        with contextlib.suppress(ModelError):
            heard([b"data: " + json.dumps(each).encode() + b"\n"])


def test_stream_without_done_counts_if_it_was_finished() -> None:
    assert heard([event({"content": "hi"}) + b"\n", event({}, reason="stop")]).text == "hi"


def test_stream_with_done_counts_without_a_reason() -> None:
    assert heard([event({"content": "hi"}) + b"\n", b"data: [DONE]\n"]).finish_reason == "unknown"


def test_stream_with_neither_was_cut() -> None:
    with pytest.raises(ModelUnreachable):
        heard([event({"content": "hi"}) + b"\n"])


def test_unknown_reason_is_called_unknown() -> None:
    assert heard([event({"content": "hi"}, reason="bored") + b"\n"]).finish_reason == "unknown"


def test_declining_is_a_refusal() -> None:
    with pytest.raises(ModelRefused):
        heard([event({"refusal": "I will not"}) + b"\n", event({}, reason="stop")])


def test_words_beside_a_refusal_are_an_answer() -> None:
    assert heard([event({"refusal": "I will not", "content": "Or so."}, reason="stop")]).text == "Or so."


def test_content_in_parts_is_heard() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}

    whole = heard([event({"content": [thinking, {"type": "text", "text": "So."}]}, reason="stop")])

    assert (whole.text, whole.reasoning) == ("So.", (Reasoning(text="Hm."),))


def test_nesting_without_end_is_malformed() -> None:
    with pytest.raises(ModelMalformed):
        decode(b"[" * 100_000)


def test_message_is_encoded_once() -> None:
    shown = Shown(role="user", text="hello")
    prompt = Prompt(messages=(shown, shown))

    first = encode("m", prompt, Dialect())
    shown.wire[WIRE] = b'{"noted":1}'
    second = encode("m", prompt, Dialect(counts_usage=False))

    assert json.loads(first)["messages"] == [{"role": "user", "content": "hello"}] * 2
    assert json.loads(second) == {"model": "m", "messages": [{"noted": 1}] * 2, "stream": True}


@given(name=st.text())
def test_names_fit_the_wire(name: str) -> None:
    shaped = wire_name(name)

    assert len(shaped) <= 64
    assert all(letter.isascii() and (letter.isalnum() or letter in "_-") for letter in shaped)


def failure(status: int, error: dict[str, object]) -> ModelError:
    return failure_of(status, json.dumps({"error": error}).encode(), {})


@pytest.mark.parametrize(
    ("status", "error", "leaf"),
    [
        (400, {"code": "context_length_exceeded"}, ContextTooLong),
        (400, {"code": 400, "type": "exceed_context_size_error"}, ContextTooLong),
        (400, {"type": "BadRequestError", "message": "the maximum context length is 9"}, ContextTooLong),
        (400, {"type": "invalid_request_error"}, ModelRefused),
        (302, {}, ModelRefused),
        (413, {}, ContextTooLong),
        (408, {}, ModelTimeout),
        (504, {}, ModelTimeout),
        (429, {}, ModelBusy),
        (429, {"code": "insufficient_quota"}, ModelRefused),
        (429, {"type": "insufficient_quota", "code": None}, ModelRefused),
        (503, {"type": "server_error"}, ModelBusy),
        (529, {"type": "overloaded_error"}, ModelBusy),
        (500, {"type": "server_error"}, ModelUnreachable),
        (500, {"type": "server_error", "message": "image input is not supported"}, ModelRefused),
        (502, {}, ModelUnreachable),
    ],
)
def test_status_and_code_decide(status: int, error: dict[str, object], leaf: type[ModelError]) -> None:
    assert type(failure(status, error)) is leaf


def test_failure_shows_no_more_than_status_and_code() -> None:
    shown = str(failure(400, {"message": "prompt: my secret", "code": "bad<script> code\n"}))

    assert shown == "the model's provider answered 400 (badscriptcode)"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"error":"text"}', b'{"error":null}', b"\xff"])
def test_any_body_makes_a_failure(body: bytes) -> None:
    assert isinstance(failure_of(500, body, {}), ModelUnreachable)


def test_error_within_a_stream_is_known_by_its_code() -> None:
    assert failure_within({"choices": []}) is None
    assert isinstance(failure_within({"error": {"code": "rate_limit_exceeded"}}), ModelBusy)
    assert isinstance(failure_within({"error": {"code": 400, "message": "context size"}}), ContextTooLong)
    assert isinstance(failure_within({"error": {"type": "invalid_request_error"}}), ModelRefused)
    assert isinstance(failure_within({"error": "model exploded"}), ModelUnreachable)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Mon, 01 Jan 2024 00:00:00 GMT"}, 0),
        ({"retry-after": "99999999999"}, 7 * 24 * 3600),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_retry_after_a_date_counts_from_now() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)

    assert 590 < (retry_after({"retry-after": date}) or 0) <= 600
