"""Conversations of every kind, in which each thing said bears a mark that can be found again."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import orjson
from hypothesis import strategies as st

from tertulia.llms.base import Shown
from tertulia.parts import Media, Part, Reasoning, Text, ToolCall, ToolResult

MARK: Final = re.compile(r"<<\d+>>")
PIXEL: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

_WORDS: Final = st.text(max_size=12) | st.sampled_from(
    ["", " \n", "\x00", "\ud800", "é", "{", "<system>", "x" * 3000]
)
_NAMES: Final = st.none() | st.sampled_from(["Zoë Müller", "a\nb", "bot:1"])
_IDS: Final = st.sampled_from(["call_1", "call_1", "aB3dE5gH7", "toolu_01", "", "ü!", "x" * 80])
_MEDIA: Final = st.sampled_from(
    [
        Media(kind="image", base64=PIXEL),
        Media(kind="image", base64=PIXEL, media_type="image/png", name="p.png"),
        Media(kind="image", url="https://example.org/p.png"),
        Media(kind="image", url="file:///etc/passwd"),
        Media(kind="audio", base64="UklGRgAAAABXQVZF", name="a.wav"),
        Media(kind="file", base64="JVBERi0xLjQ=", name="d.pdf"),
        Media(kind="file", base64="bm90ZXM=", media_type="text/plain", name="n.txt"),
        Media(kind="file", base64="no Base64"),
        Media(kind="image"),
    ]
)
_ARGUMENTS: Final[st.SearchStrategy[Callable[[str], str]]] = st.sampled_from(
    [
        lambda mark: orjson.dumps({"a": mark}).decode(),
        lambda mark: orjson.dumps({"a": {"b": [1, mark, None]}}, option=orjson.OPT_INDENT_2).decode(),
        lambda mark: f'["{mark}"]',
        lambda mark: f'"{mark}"',
        lambda mark: f'{{"a": {mark}',
        lambda mark: mark,
    ]
)
_OPAQUE: Final = st.sampled_from(["", "no JSON", '{"provider":"elsewhere","signature":"x"}', "[]", "{}"])


@dataclass(frozen=True)
class Marked:
    """A conversation, and its marks in the order in which they were said."""

    shown: tuple[Shown, ...]
    marks: tuple[str, ...]


@st.composite
def conversations(draw: st.DrawFn) -> Marked:
    """Any conversation that a history may give, with old media that may not be shown everywhere."""
    marks = (f"<<{number}>>" for number in count(100))
    shown: list[Shown] = []
    for _ in range(draw(st.integers(0, 2))):
        shown.append(Shown(role="system", text=_said(draw, marks)))
    for _ in range(draw(st.integers(0, 6))):
        shown += draw(st.sampled_from(_TURNS))(draw, marks)
    if draw(st.booleans()):
        shown.append(Shown(role="user", text=_said(draw, marks), name=draw(_NAMES)))
    newest = max((n for n, each in enumerate(shown) if each.role == "assistant"), default=-1)
    shown = [_without_media(each) if n > newest else each for n, each in enumerate(shown)]
    return Marked(tuple(shown), tuple(MARK.findall("".join(_texts(shown)))))


def marks_of(found: object) -> list[str]:
    """Return the marks in a request's body, in the order in which it says them."""
    if isinstance(found, str):
        return MARK.findall(found)
    if isinstance(found, dict):
        # Calls come last in a message, and instructions before all messages, wherever they are written.
        keys = sorted(
            found, key=lambda key: (key == "tool_calls", key not in {"system", "systemInstruction"})
        )
        return [mark for key in keys for mark in marks_of(found[key])]
    return [mark for each in found for mark in marks_of(each)] if isinstance(found, list) else []


def _said(draw: st.DrawFn, marks: Iterator[str]) -> str:
    return (
        draw(_WORDS) + next(marks) + draw(_WORDS)
        if draw(st.integers(0, 9))
        else draw(st.sampled_from(["", " "]))
    )


def _user(draw: st.DrawFn, marks: Iterator[str]) -> list[Shown]:
    name = draw(_NAMES)
    if draw(st.booleans()):
        return [Shown(role="user", text=_said(draw, marks), name=name)]
    parts: list[Part] = []
    for _ in range(draw(st.integers(1, 3))):
        parts.append(Text(text=_said(draw, marks)) if draw(st.booleans()) else draw(_MEDIA))
    text = "".join(part.text for part in parts if isinstance(part, Text))
    return [Shown(role="user", text=text, parts=tuple(parts), name=name)]


def _assistant(draw: st.DrawFn, marks: Iterator[str]) -> list[Shown]:
    return [Shown(role="assistant", text=_said(draw, marks), name=draw(_NAMES))]


def _system(draw: st.DrawFn, marks: Iterator[str]) -> list[Shown]:
    return [Shown(role="system", text=_said(draw, marks))]


def _tools(draw: st.DrawFn, marks: Iterator[str]) -> list[Shown]:
    ids = draw(st.lists(_IDS, min_size=1, max_size=3, unique=True))
    text = _said(draw, marks)
    calls = [
        ToolCall(
            id=each,
            name=draw(st.sampled_from(["weather", "find-it"])),
            arguments=draw(_ARGUMENTS)(next(marks)),
            opaque=draw(_OPAQUE),
        )
        for each in ids
    ]
    thought = Reasoning(text="never shown", provider="elsewhere", opaque=draw(_OPAQUE))
    results = [
        ToolResult(call_id=call.id, name=call.name, text=_said(draw, marks), is_error=draw(st.booleans()))
        for call in calls
    ]
    return [
        Shown(role="assistant", text=text, parts=(thought, Text(text=text), *calls)),
        *(Shown(role="tool", text=result.text, parts=(result,)) for result in results),
    ]


_TURNS: Final = (_user, _user, _assistant, _assistant, _system, _tools)


def _without_media(shown: Shown) -> Shown:
    texts = tuple(part for part in shown.parts if not isinstance(part, Media))
    return Shown(role=shown.role, text=shown.text, name=shown.name, parts=texts)


def _texts(shown: list[Shown]) -> Iterator[str]:
    for each in shown:
        if not each.parts:
            yield each.text
        for part in each.parts:
            yield _text(part)


def _text(part: Any) -> str:
    return part.arguments if isinstance(part, ToolCall) else getattr(part, "text", "")
