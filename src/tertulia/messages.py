"""What is said: messages, the JSON in which they travel, and what can be said at all."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntFlag
from time import time_ns
from typing import Any, Final, Literal, TypeAlias, get_args

from tertulia import ids
from tertulia.errors import InvalidInput
from tertulia.parts import Part, Text, decode_part, encode_part, text_content

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


HIDDEN: Final = Flag.WITHDRAWN | Flag.DELETED
"""What is no longer shown to models has one of these."""


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
    stands_for: tuple[str, ...] = ()
    """Ids of the messages that this one sums up; only in what a model is shown, never in the log."""

    @property
    def text(self) -> str:
        """All text of the message."""
        return "".join(part.text for part in self.content if isinstance(part, Text))

    def to_dict(self) -> dict[str, Any]:
        """Return the message as JSON; what is as it is by default is left out."""
        given = {name: value for name in _PLAIN if (value := getattr(self, name)) != _DEFAULTS[name]}
        content = [encode_part(part) for part in self.content]
        kept: dict[str, Any] = {"id": self.id, "role": self.role, "content": content, **given}
        if self.flags:
            kept["flags"] = int(self.flags)
        if self.stands_for:
            kept["stands_for"] = list(self.stands_for)
        return kept

    @classmethod
    def from_dict(cls, kept: object) -> "Message":
        """Return the message that :meth:`to_dict` told, or one that was written by hand.

        ``content`` may be a text, and the id is made if there is none. Parts of unknown kinds are
        carried along. Raises :class:`InvalidInput` for what is no message.
        """
        if not isinstance(kept, dict) or kept.get("role") not in get_args(Role):
            raise InvalidInput('a message is an object with a "role" (user, assistant, …) and "content"')
        given = {name: kept[name] for name in _PLAIN if name in kept}
        if not all(isinstance(value, _KINDS[name]) for name, value in given.items()):
            raise InvalidInput("a message has a field of the wrong kind")
        ident, stands_for = kept.get("id") or ids.new_id(ids.MESSAGE), kept.get("stands_for") or ()
        if not isinstance(ident, str) or not all(isinstance(each, str) for each in stands_for):
            raise InvalidInput("the ids of messages are texts")
        return cls(
            id=ident,
            role=kept["role"],
            content=_decoded(kept.get("content")),
            flags=Flag(kept.get("flags") or 0),
            stands_for=tuple(stands_for),
            **given,
        )


_PLAIN: Final = ("author", "number", "run_id", "turn", "created_at")
_DEFAULTS: Final[dict[str, object]] = {
    "author": None,
    "number": 0,
    "run_id": None,
    "turn": 0,
    "created_at": 0,
}
_KINDS: Final[dict[str, type | tuple[type, ...]]] = {
    "author": (str, type(None)),
    "number": int,
    "run_id": (str, type(None)),
    "turn": int,
    "created_at": int,
}


def _decoded(content: object) -> tuple[Part, ...]:
    if isinstance(content, str):
        return text_content(check_text(content, what="a message"))
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise InvalidInput("the content of a message is a text, or a list of parts")
    return tuple(decode_part(part) for part in content)


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
