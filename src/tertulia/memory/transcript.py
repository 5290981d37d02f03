"""The shown part of a conversation as it grows: every message is encoded once, and joined once."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import overload

from typing_extensions import Buffer, override

from tertulia.llms.base import Encode, Joinable, Shown


@dataclass(slots=True)
class _Joined:
    """Encoded messages with commas between them, and where each of them ends."""

    text: bytearray = field(default_factory=bytearray)
    ends: list[int] = field(default_factory=list)

    def upto(self, messages: Sequence[Shown], length: int, encode: Encode) -> Buffer:
        """Return the first ``length`` messages, having joined those that are new."""
        for shown in messages[len(self.ends) : length]:
            self._add(b"," + encode(shown) if self.text else encode(shown))
            self.ends.append(len(self.text))
        return memoryview(self.text)[: self.ends[length - 1]]

    def _add(self, piece: bytes) -> None:
        try:
            self.text += piece
        except BufferError:  # a piece that was given out is still held, as by the trace of an error
            self.text = self.text + piece


class Transcript:
    """Messages that are only ever added to at the end; what was given out of it stays as it was."""

    __slots__ = ("_joined", "_messages")

    def __init__(self, messages: Iterable[Shown] = ()) -> None:
        self._messages = list(messages)
        self._joined: dict[str, _Joined] = {}

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, shown: Shown) -> None:
        """Go on with a message."""
        self._messages.append(shown)

    def without_first(self, count: int) -> "Transcript":
        """Return a transcript that begins ``count`` messages later."""
        return Transcript(self._messages[count:])

    def passage(self, *, opening: tuple[Shown, ...] = (), tokens: int = 0) -> "Passage":
        """Return what stands here now, with other messages in front of it."""
        return Passage(opening, self._messages, len(self._messages), self._joined, tokens=tokens)


@dataclass(frozen=True, slots=True, eq=False)
class Passage(Joinable):
    """The messages of a prompt: an opening, a transcript as far as it went at the time, and an end."""

    _opening: tuple[Shown, ...]
    _messages: list[Shown]
    _length: int
    _joined: dict[str, _Joined]
    _closing: tuple[Shown, ...] = ()
    tokens: int = 0
    """Estimated, of the transcript."""

    def then(self, shown: Iterable[Shown]) -> "Passage":
        """Return the same with more at its end; what it begins with is not encoded again."""
        return replace(self, _closing=(*self._closing, *shown))

    def before_last(self, shown: Iterable[Shown]) -> "Passage":
        """Return the same with more just before its last message, if that is a user's; else at its end."""
        more = tuple(shown)
        if not more:
            return self
        if self._closing:
            is_asked = self._closing[-1].role == "user"
            place = len(self._closing) - 1 if is_asked else len(self._closing)
            return replace(self, _closing=(*self._closing[:place], *more, *self._closing[place:]))
        if not self._length or self._messages[self._length - 1].role != "user":
            return self.then(more)
        last = self._messages[self._length - 1]
        return replace(self, _length=self._length - 1, _closing=(*more, last))

    @override
    def __len__(self) -> int:
        return len(self._opening) + self._length + len(self._closing)

    @override
    def __iter__(self) -> Iterator[Shown]:
        yield from self._opening
        yield from self._messages[: self._length]
        yield from self._closing

    @overload
    def __getitem__(self, place: int) -> Shown: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Shown]: ...
    @override
    def __getitem__(self, place: int | slice) -> Shown | Sequence[Shown]:
        return tuple(self)[place]

    @override
    def pieces(self, wire: str, encode: Encode) -> list[Buffer]:
        pieces: list[Buffer] = [encode(shown) for shown in self._opening]
        if self._length:
            joined = self._joined.setdefault(wire, _Joined())
            pieces.append(joined.upto(self._messages, self._length, encode))
        return pieces + [encode(shown) for shown in self._closing]
