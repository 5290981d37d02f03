"""What is said: messages, and what can be said at all."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntFlag
from time import time_ns
from typing import Literal, TypeAlias

from tertulia.errors import InvalidInput
from tertulia.parts import Part, Text

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]


class Flag(IntFlag):
    """What has happened to a message since it was written."""

    NONE = 0
    WITHDRAWN = 1
    """Stays in the log, is no longer shown to models."""
    INCOMPLETE = 2
    """The answer was cut short."""
    DELETED = 4
    """Its content was erased; only its number is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One thing said in a conversation; never changed once written."""

    id: str
    role: Role
    content: tuple[Part, ...]
    author: str | None = None
    """Name of the agent or person who said it."""
    number: int = 0
    """Place in the conversation, from 1 without gap; 0 as long as it has none."""
    run_id: str | None = None
    turn: int = 0
    """Turn of the run that said it, from 1; 0 for what the run was asked."""
    flags: Flag = Flag.NONE
    created_at: int = 0
    """Microseconds since 1970, UTC."""

    @property
    def text(self) -> str:
        """All text of the message."""
        return "".join(part.text for part in self.content if isinstance(part, Text))


def now_us() -> int:
    """Return the time: microseconds since 1970, UTC."""
    return time_ns() // 1000


def to_datetime(microseconds: int) -> datetime:
    """Return a time of ours as an aware datetime."""
    return datetime.fromtimestamp(microseconds / 1_000_000, tz=UTC)


def check_text(text: str, *, what: str) -> str:
    """Return ``text``, or raise :class:`InvalidInput` for what no database and no wire can carry."""
    if "\x00" in text:
        raise InvalidInput(f"{what} holds a NUL character; remove it")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{what} holds half of a surrogate pair; send valid Unicode") from None
    return text


def clean_text(text: str) -> str:
    """Return ``text`` with NUL and lone surrogates replaced by U+FFFD, so that a paid answer is kept."""
    if text.isascii():
        return text.replace("\x00", "\ufffd")
    return text.replace("\x00", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
