"""The port to hints: how processes tell each other quickly that something has changed."""

from collections.abc import Callable, Collection
from typing import Final, Protocol, Self, TypeAlias

WORK: Final = "work"
"""The topic that says: there is something to claim."""

EVERYTHING: Final = "*"
"""The topic that says: something may have been missed, look at all that you care for."""

Hear: TypeAlias = Callable[[frozenset[str]], None]
"""Takes in topics; returns soon, and never raises."""


class Hints(Protocol):
    """Tells other processes at once what they would find out within a second by asking the store.

    A topic is the id of a run of which there is something new (events, its end, a wish to stop it),
    or :data:`WORK`, or :data:`EVERYTHING`. Laws:

    * The store is the truth, and hints are only quick: they may be lost, late, doubled, heard in
      another order, or about nothing. Whoever relies on them asks the store now and then as well.
    * Whoever rings is heard by all who opened hints of the same URL and have not closed them,
      himself perhaps too, and by no one who opened hints of something else. What cannot be told in
      detail is told as :data:`EVERYTHING`.
    * Nothing that happens to whatever carries the hints is raised. It is sought again for as long as
      it is gone; what is rung meanwhile is lost, and :data:`EVERYTHING` is heard when it is back.
    """

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Return what carries hints for this URL, not yet opened.

        Raises :class:`~tertulia.errors.InvalidInput` for a URL that names nothing, and
        :class:`~tertulia.errors.MissingExtra` where an optional package is needed.
        """
        ...

    async def open(self, hear: Hear) -> None:
        """Have ``hear`` called with what is rung from now on, in the running event loop; once only.

        Topics come together, never none. Returns when it hears, or when the first attempt to has
        failed, within some seconds.
        """
        ...

    async def close(self) -> None:
        """Hear no more; what was rung before is still told, if that is quick.

        Never waits long. May be called twice, and without ``open``.
        """
        ...

    def ring(self, topics: Collection[str]) -> None:
        """Tell everybody that these have changed; never waits, and never raises.

        From any thread. Does nothing before ``open`` and after ``close``.
        """
        ...
