"""How much a server of tools may say until it is asked something again."""

from typing import Final

from tertulia.errors import ToolUnavailable

MB: Final = 1024 * 1024
_IN_ALL: Final = 5
_PER_LINE: Final = 2048


class Allowance:
    """Counts what is heard of a server, which may send without end, and without being asked."""

    def __init__(self, at_once: int) -> None:
        """Allow ``at_once`` bytes in one answer, and five times as many until :meth:`renew` is called."""
        self._at_once, self._heard = at_once, 0
        self.exceeded: str | None = None
        """What was too much, as it may be told, since this was last renewed."""

    def renew(self) -> None:
        """Begin to count anew, since it was asked something."""
        self._heard, self.exceeded = 0, None

    def heard(self, size: int, *, so_far: int, lines: int = 0) -> None:
        """Count bytes that were heard, with which an answer has ``so_far``.

        ``lines`` are those of them that may be a message each, and cost more than their bytes. Raises
        :class:`ToolUnavailable` if that is too much.
        """
        self._heard += size + lines * _PER_LINE
        if so_far > self._at_once:
            self._refuse(f"said more than {self._at_once // MB} MB at once")
        if self._heard > self._at_once * _IN_ALL:
            self._refuse(f"said more than {self._at_once * _IN_ALL // MB} MB without being asked")

    def _refuse(self, why: str) -> None:
        self.exceeded = why
        raise ToolUnavailable(f"the server of tools {why}")
