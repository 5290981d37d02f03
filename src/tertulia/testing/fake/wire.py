"""What the fake model server asks of a wire."""

from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

JSON: TypeAlias = Any
"""Whatever a client may send, or a model say."""
Request: TypeAlias = dict[str, Any]
"""The body of a request, decoded."""


class Answer(Protocol):
    """One answer in the form of its wire; made once, and taken whole or as events, not both."""

    def whole(self) -> bytes:
        """Return it as JSON."""
        ...

    def events(self, size: int) -> Iterator[bytes]:
        """Yield it as the events of a stream, texts in pieces of ``size`` characters."""
        ...

    def is_word(self, event: bytes) -> bool:
        """Whether an event brings a piece of what is said."""
        ...

    def broken(self) -> bytes:
        """Return the event that tells of a failure, after which nothing comes."""
        ...
