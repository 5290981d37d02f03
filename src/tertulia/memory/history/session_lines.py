"""Lines of a session's file: what stands in them, and how much of them is there.

The first line names the session. Then comes one line for each message; where an append had several,
``left`` says how many of them still follow. An append is there when its last line is, with its end.
Of a message that was forgotten the id is left, in its place, and the first line counts how often the
file was written anew for that.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final, TypeAlias

import orjson

from tertulia.errors import ProviderError
from tertulia.memory.history.encoding import encode, message_of, parse
from tertulia.memory.sessions import ProviderSession
from tertulia.messages import Message, check_text

Line: TypeAlias = dict[str, object]

_LEFT: Final = "left"
_FORGOTTEN: Final = "forgotten"
_REWRITTEN: Final = "rewritten"


def head_of(session: ProviderSession) -> bytes:
    """Return the first line of a session's file as it is made, by which it is known."""
    return orjson.dumps(_head(session))


def first_line(text: bytes) -> bytes:
    """Return the first line of a text with its end; nothing if it has no whole line."""
    return text[: text.find(b"\n") + 1]


def lines_of(messages: Sequence[Message]) -> list[bytes]:
    """Return the lines of one append."""
    return [encode(each, **_left(len(messages) - place)) for place, each in enumerate(messages, start=1)]


def whole_lines(text: bytes) -> tuple[list[Line], int]:
    """Return the lines of all appends that are whole, and how many bytes these take."""
    texts = text.split(b"\n")
    length = len(text) - len(texts.pop())
    lines = [parse(each) for each in texts]
    while lines and lines[-1].get(_LEFT):
        lines.pop()
        length -= len(texts.pop()) + 1
    return lines, length


def without_head(lines: list[Line], session: ProviderSession) -> list[Line]:
    """Return all lines but the first; raises ``ProviderError`` if that is not this session's."""
    if lines and {**lines[0], _REWRITTEN: 0} != {**_head(session), _REWRITTEN: 0}:
        raise ProviderError("the file of the history is another session's, or of another version")
    return lines[1:]


def remembered(lines: Iterable[Line]) -> list[Line]:
    """Return the lines of the messages that were not forgotten."""
    return [line for line in lines if not _is_forgotten(line)]


def id_of(line: Line) -> str:
    """Return the id of the message of a line; raises ``ProviderError`` if it is none."""
    return str(line["id"]) if _is_forgotten(line) else message_of(line).id


def rewritten(text: bytes, session: ProviderSession, *, without: Collection[str]) -> bytes:
    """Return what is to stand in a file in the place of a text: of these messages nothing but their ids.

    Ids that are not in it yet are put at its end. If there is nothing to change, it is the same text.
    """
    lines, length = whole_lines(text)
    kept, found, is_changed = text[:length].split(b"\n")[1:-1], set(), False
    for place, line in enumerate(without_head(lines, session)):
        found.add(ident := id_of(line))
        if ident in without and not _is_forgotten(line):
            kept[place], is_changed = _tombstone(ident), True
    more = [_tombstone(ident) for ident in without if ident not in found]
    if not (is_changed or more):
        return text
    count = lines[0].get(_REWRITTEN, 0) if lines else 0
    head = _head(session) | {_REWRITTEN: (count if isinstance(count, int) else 0) + 1}
    return b"".join(line + b"\n" for line in [orjson.dumps(head), *kept, *more])


def _head(session: ProviderSession) -> Line:
    names = {"agent": session.agent, "session": session.id}
    if session.user is not None:
        names["user"] = session.user
    checked = {key: check_text(name, what="the name of a session") for key, name in names.items()}
    return {"tertulia": 1, "tenant": session.tenant, **checked}


def _is_forgotten(line: Line) -> bool:
    return line.get(_FORGOTTEN) is True and isinstance(line.get("id"), str)


def _tombstone(ident: str) -> bytes:
    return orjson.dumps({"id": check_text(ident, what="the id of a message"), _FORGOTTEN: True})


def _left(count: int) -> dict[str, int]:
    return {_LEFT: count} if count else {}
