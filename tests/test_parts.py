"""What a message is made of is kept as text and comes back whole, also what only a later version knows."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.parts import (
    Media,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
    decode_content,
    decode_part,
    encode_content,
    encode_part,
    text_content,
)

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
parts = st.one_of(
    st.builds(Text, text=words),
    st.builds(
        Media,
        kind=st.sampled_from(["image", "audio", "file"]),
        media_type=words,
        base64=words,
        url=words,
        name=words,
    ),
    st.builds(ToolCall, id=words, name=words, arguments=words, opaque=words),
    st.builds(ToolResult, call_id=words, name=words, text=words, is_error=st.booleans()),
    st.builds(Reasoning, text=words, provider=words, opaque=words),
)


@given(content=st.lists(parts, max_size=4).map(tuple))
def test_content_is_read_as_it_was_written(content: tuple[Part, ...]) -> None:
    assert decode_content(encode_content(content)) == content


@given(raw=st.dictionaries(words, json_values, max_size=4))
def test_whatever_stands_in_a_message_is_carried_along(raw: dict[str, object]) -> None:
    part = decode_part(raw)

    assert encode_part(part) == raw
    assert decode_content(encode_content((part,))) == (part,)


def test_plain_text_takes_the_short_form() -> None:
    assert encode_content(text_content("hello")) == '{"v":1,"text":"hello"}'
    assert decode_content('{"v":1,"text":"hello"}') == (Text(text="hello"),)


def test_nothing_is_no_content() -> None:
    assert decode_content("") == decode_content(encode_content(())) == ()


@pytest.mark.parametrize(
    ("part", "kept"),
    [
        (Text(text=""), {"type": "text", "text": ""}),
        (Media(kind="image"), {"type": "media", "kind": "image"}),
        (
            ToolCall(id="c1", name="add", arguments=""),
            {"type": "tool_call", "id": "c1", "name": "add", "arguments": ""},
        ),
        (
            ToolResult(call_id="c1", name="add", text=""),
            {"type": "tool_result", "call_id": "c1", "name": "add", "text": ""},
        ),
        (Reasoning(), {"type": "reasoning"}),
    ],
)
def test_what_is_as_it_is_by_default_is_left_out(part: Part, kept: dict[str, object]) -> None:
    assert encode_part(part) == kept
    assert decode_part(kept) == part


@pytest.mark.parametrize(
    "raw",
    [
        {"type": "smell", "of": "bread"},
        {"text": "without a type"},
        {"type": ["text"], "text": "x"},
        {"type": "text"},
        {"type": "text", "text": 7},
        {"type": "text", "text": "x", "language": "en"},
        {"type": "tool_result", "call_id": "c1", "name": "add", "text": "2", "is_error": "yes"},
        {"type": "tool_call", "id": "c1", "name": "add", "arguments": {"a": 1}},
    ],
)
def test_what_is_none_of_ours_is_carried_along(raw: dict[str, object]) -> None:
    part = decode_part(raw)

    assert part == Unknown(raw=raw)
    kept = encode_content((Text(text="a"), part))
    assert orjson.loads(kept)["parts"][1] == raw
