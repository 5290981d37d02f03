"""What is kept of a reduced conversation, so that another process goes on from there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import orjson

from tertulia.errors import InvalidInput
from tertulia.messages import Message

Place: TypeAlias = int | Message
"""The number of a message that is shown as it is; or a message that stands in no log."""

_FORM: Final = 1


@dataclass(frozen=True, slots=True)
class ReducedState:
    """What is shown of a conversation, as of one head and version."""

    version: int
    head: int
    places: tuple[Place, ...]

    @property
    def numbers(self) -> list[int]:
        """Numbers of the messages that must be read."""
        return [place for place in self.places if isinstance(place, int)]

    def messages(self, read: Mapping[int, Message]) -> list[Message] | None:
        """Return what is shown; ``None`` if a message is missing among those that were read."""
        if any(number not in read for number in self.numbers):
            return None
        return [read[place] if isinstance(place, int) else place for place in self.places]

    def encode(self) -> str:
        """Return it as JSON text: messages in a row by the numbers of the first and the last."""
        shown: list[object] = []
        for place in self.places:
            last = shown[-1] if shown else None
            if not isinstance(place, int):
                shown.append(place.to_dict())
            elif isinstance(last, list) and last[1] == place - 1:
                last[1] = place
            else:
                shown.append([place, place])
        told = {"v": _FORM, "version": self.version, "head": self.head, "shown": shown}
        return orjson.dumps(told).decode()


def decode_state(value: str) -> ReducedState | None:
    """Return what :meth:`ReducedState.encode` told; ``None`` for what another version has written."""
    try:
        kept: Any = orjson.loads(value)
        if kept["v"] != _FORM:
            return None
        places = [place for shown in kept["shown"] for place in _places(shown)]
        return ReducedState(int(kept["version"]), int(kept["head"]), tuple(places))
    except (ValueError, KeyError, TypeError, InvalidInput):
        return None


def _places(shown: object) -> Sequence[Place]:
    if isinstance(shown, list):
        first, last = shown
        return range(first, last + 1)
    return (Message.from_dict(shown),)
