"""Who hears hints in this process, by the name of what they are about.

This is the one list that a process has to have: its parts know nothing of each other.
"""

import threading
from collections.abc import Collection
from typing import Final

from tertulia.hints.gathering import Gathering

_CHANGING: Final = threading.Lock()
_HEARING: Final[dict[str, tuple[Gathering, ...]]] = {}


def join(name: str, gathering: Gathering) -> None:
    """Have this gathering told, from now on, what is rung under a name."""
    with _CHANGING:
        _HEARING[name] = (*_HEARING.get(name, ()), gathering)


def leave(name: str, gathering: Gathering) -> None:
    """Have it told no more."""
    with _CHANGING:
        others = tuple(other for other in _HEARING.pop(name, ()) if other is not gathering)
        if others:
            _HEARING[name] = others


def tell(name: str, topics: Collection[str]) -> None:
    """Tell all who are there under a name, whichever their event loop."""
    for gathering in _HEARING.get(name, ()):
        gathering.add(topics)
