"""What reducers spend on models, told to the step in which they do so."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from tertulia.usage import Usage

_SPENT: Final[ContextVar[list[Usage] | None]] = ContextVar("tertulia_spent", default=None)


def spend(usage: Usage) -> None:
    """Tell what a call of a model has cost."""
    spent = _SPENT.get()
    if spent is not None:
        spent.append(usage)


@contextmanager
def spending() -> Iterator[list[Usage]]:
    """Collect what is spent within, in the same task."""
    spent: list[Usage] = []
    token = _SPENT.set(spent)
    try:
        yield spent
    finally:
        _SPENT.reset(token)
