"""A service that dies where it is told to: the real one, with a probe that ends the process.

``python -m tertulia.testing.crashing serve --crash-at POINT --pass N`` takes what ``tertulia serve``
takes, but stays one process; without a point it never dies by itself.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

from tertulia.cli.serve import serve
from tertulia.engine import POINTS, Probe, unobserved
from tertulia.errors import TertuliaError

KILLED: Final = 137
"""What a shell tells of a process that ``kill -9`` has ended."""


class CrashPoint:
    """A probe that ends the process at the n-th passing of a point: nothing is flushed or closed.

    ``die`` is called with the exit code; tests that want to live hand in another one.
    """

    def __init__(self, point: str, *, passing: int = 1, die: Callable[[int], object] = os._exit) -> None:
        if point not in POINTS:
            raise ValueError(f"no point {point!r}; there are: {', '.join(POINTS)}")
        self._point, self._left, self._die = point, passing, die

    def __call__(self, point: str) -> None:
        """Take note of a point that was passed."""
        if point != self._point:
            return
        self._left -= 1
        if self._left == 0:
            self._die(KILLED)


def crash_at(point: str | None, *, passing: int = 1) -> Probe:
    """Return the probe that ends the process there; without a point, one that does nothing."""
    return unobserved if point is None else CrashPoint(point, passing=passing)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until asked to stop, or until the point is passed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    command = parser.add_subparsers(required=True).add_parser("serve", help="start the server")
    command.add_argument("--host")
    command.add_argument("--port", type=int, help="0 takes a free one")
    command.add_argument("--crash-at", choices=POINTS)
    command.add_argument("--pass", dest="passing", type=int, default=1, help="die at this passing")
    given = parser.parse_args(arguments)
    try:
        serve(
            host=given.host,
            port=given.port,
            workers=1,
            probe=crash_at(given.crash_at, passing=given.passing),
        )
    except TertuliaError as error:
        sys.exit(f"crashing: {error}")


if __name__ == "__main__":
    main()
