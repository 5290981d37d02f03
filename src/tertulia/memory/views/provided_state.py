"""What is kept of a history that a provider has, so that another process shows the same."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from tertulia.errors import InvalidInput
from tertulia.messages import Message

_FORM: Final = 1
_MOST_ANCHORS: Final = 8


@dataclass(frozen=True, slots=True)
class ProvidedState:
    """What was decided on one conversation, as of one version of it."""

    version: int
    reducer: str
    """The reducer's identity; it holds for this one."""
    reduced: tuple[Message, ...] = ()
    """What the reducer has left of everything up to ``last``."""
    last: str | None = None
    """Id of the last message that ``reduced`` stands for; ``None`` if nothing was reduced."""
    anchors: Mapping[str, str] = field(default_factory=dict)
    """Ids of the messages with which the history begins, by the budget in tokens."""

    def anchored(self, anchor: str, *, budget: int) -> dict[str, str]:
        """Return the anchors with another one for a budget; of all others the newest are left."""
        others = [(key, each) for key, each in self.anchors.items() if key != str(budget)]
        return dict([*others[1 - _MOST_ANCHORS :], (str(budget), anchor)])

    def encode(self) -> str:
        """Return it as JSON text."""
        told = {
            "v": _FORM,
            "version": self.version,
            "reducer": self.reducer,
            "reduced": [message.to_dict() for message in self.reduced],
            "last": self.last,
            "anchors": dict(self.anchors),
        }
        return orjson.dumps(told).decode()


def decode_state(value: str) -> ProvidedState | None:
    """Return what :meth:`ProvidedState.encode` told; ``None`` for what another version has written."""
    try:
        kept: Any = orjson.loads(value)
        if kept["v"] != _FORM:
            return None
        return ProvidedState(
            version=int(kept["version"]),
            reducer=str(kept["reducer"]),
            reduced=tuple(map(Message.from_dict, kept["reduced"])),
            last=None if kept["last"] is None else str(kept["last"]),
            anchors={str(key): str(each) for key, each in kept["anchors"].items()},
        )
    except (AttributeError, InvalidInput, KeyError, TypeError, ValueError):
        return None
