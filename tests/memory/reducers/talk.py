"""Conversations for tests of reducers."""

from collections.abc import Callable, Sequence
from itertools import count

from hypothesis import strategies as st

from tertulia.messages import Message, Role
from tertulia.parts import Part, ToolCall, ToolResult, text_content


class Talk:
    """Makes messages with ids and numbers in a row."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def message(self, role: Role, *content: Part, stands_for: tuple[str, ...] = ()) -> Message:
        number = next(self._numbers)
        return Message(id=f"msg_{number}", role=role, content=content, number=number, stands_for=stands_for)

    def user(self, text: str = "?") -> Message:
        return self.message("user", *text_content(text))

    def assistant(self, text: str = "!") -> Message:
        return self.message("assistant", *text_content(text))

    def system(self, text: str = "be kind") -> Message:
        return self.message("system", *text_content(text))

    def call(self, *ids: str, text: str = "") -> Message:
        calls = (ToolCall(id=each, name=f"tool_{each}", arguments='{"a": 1}') for each in ids)
        return self.message("assistant", *(text_content(text) if text else ()), *calls)

    def result(self, call_id: str, text: str = "found") -> Message:
        return self.message("tool", ToolResult(call_id=call_id, name=f"tool_{call_id}", text=text))

    def results(self, *call_ids: str, text: str = "found") -> Message:
        parts = (ToolResult(call_id=each, name=f"tool_{each}", text=text) for each in call_ids)
        return self.message("tool", *parts)

    def turns(self, count: int) -> list[Message]:
        return [said for turn in range(count) for said in (self.user(f"q{turn}"), self.assistant(f"a{turn}"))]


def texts(messages: Sequence[Message]) -> list[str]:
    return [message.text for message in messages]


def places(messages: Sequence[Message]) -> list[str]:
    return [message.id for message in messages]


_IDS = st.sampled_from("xyz")
_WORDS = st.integers(0, 12).map(lambda length: "word " * length)


@st.composite
def talks(draw: st.DrawFn, *, most: int = 40) -> list[Message]:
    """Draw any list of messages: well-formed, or with calls, results and ids in any order."""
    talk, messages = Talk(), list[Message]()
    for kind in draw(st.lists(st.sampled_from("uuaasctttpm"), max_size=most)):
        messages.append(_drawn(draw, talk, kind))
    return messages


def _drawn(draw: st.DrawFn, talk: Talk, kind: str) -> Message:
    made: dict[str, Callable[[], Message]] = {
        "u": lambda: talk.user(draw(_WORDS)),
        "a": lambda: talk.assistant(draw(_WORDS)),
        "s": lambda: talk.system(draw(_WORDS)),
        "c": lambda: talk.call(draw(_IDS), text=draw(_WORDS)),
        "p": lambda: talk.call(*draw(st.lists(_IDS, min_size=2, max_size=3, unique=True))),
        "t": lambda: talk.result(draw(_IDS), draw(_WORDS) * 4),
        "m": lambda: talk.results(*draw(st.lists(_IDS, min_size=1, max_size=3, unique=True))),
    }
    return made[kind]()


def pairs(messages: Sequence[Message]) -> list[tuple[str, str, str]]:
    """Return calls and their results: ids of both messages, and the call's."""
    found: list[tuple[str, str, str]] = []
    waiting: dict[str, list[str]] = {}
    for message in messages:
        for call_id in dict.fromkeys(p.id for p in message.content if isinstance(p, ToolCall)):
            waiting.setdefault(call_id, []).append(message.id)
        for part in message.content:
            if isinstance(part, ToolResult) and waiting.get(part.call_id):
                found.append((waiting[part.call_id].pop(), message.id, part.call_id))
    return found


def parts_in(messages: Sequence[Message]) -> set[tuple[str, str, str]]:
    """Return calls and results that are there: the message's id, which of both it is, the call's id."""
    return {
        (
            m.id,
            "call" if isinstance(p, ToolCall) else "result",
            p.id if isinstance(p, ToolCall) else p.call_id,
        )
        for m in messages
        for p in m.content
        if isinstance(p, ToolCall | ToolResult)
    }
