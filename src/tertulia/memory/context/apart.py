"""Calling code of others so that nothing it does, or fails to do, touches the caller."""

import asyncio
import logging
from collections.abc import Awaitable
from traceback import extract_tb
from typing import Any, Final, TypeVar

from tertulia.errors import ProviderError, TertuliaError

R = TypeVar("R")

_LOG: Final = logging.getLogger(__name__)
_GRACE_SECONDS: Final = 1.0
_LENGTH: Final = 500
_FRAMES: Final = 5
# Whoever does not end when cancelled is held on to until it does, or Python may forget it half way.
_LEFT_BEHIND: Final[set[asyncio.Task[Any]]] = set()


async def apart(call: Awaitable[R], *, within_seconds: float, grace_seconds: float = _GRACE_SECONDS) -> R:
    """Return what ``call`` returns, awaited in a task of its own.

    Raises what it raises if that is an error of ours, and :class:`ProviderError` otherwise: for errors of
    others, which stand behind it as its cause, for having taken too long, for ending the program. When
    its time is up, or the caller is cancelled, it is cancelled too; it has ``grace_seconds`` to end
    then, and is left behind after that.
    """
    task = asyncio.ensure_future(_guarded(call))
    try:
        await asyncio.wait({task}, timeout=within_seconds)
        is_late = not task.done()
    finally:
        await _ended(task, grace_seconds=grace_seconds)
    if is_late:
        raise ProviderError(f"it took longer than {within_seconds:g} seconds")
    return _outcome(task)


def told_of(error: TertuliaError, *, of: str) -> str:
    """Return what may be shown of an error that :func:`apart` has raised; the log says where it arose."""
    if error.__cause__ is not None:
        _LOG.warning("%s failed with %s at %s", of, type(error.__cause__).__name__, _place(error.__cause__))
    said = str(error)
    return said if len(said) <= _LENGTH else f"{said[:_LENGTH]} …"


async def _guarded(call: Awaitable[R]) -> R:
    try:
        return await call
    except SystemExit as error:  # It would end the event loop.
        raise ProviderError("it tried to end the program") from error


async def _ended(task: asyncio.Task[Any], *, grace_seconds: float) -> None:
    if task.done():
        return
    task.cancel()
    _LEFT_BEHIND.add(task)
    task.add_done_callback(_forget)
    await asyncio.wait({task}, timeout=grace_seconds)


def _forget(task: asyncio.Task[Any]) -> None:
    _LEFT_BEHIND.discard(task)
    if not task.cancelled():
        task.exception()  # so that nobody is told that it was never asked for


def _outcome(task: asyncio.Task[R]) -> R:
    if task.cancelled():
        raise ProviderError("it was cancelled from within")
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, TertuliaError):
        raise error
    raise ProviderError(f"it failed ({type(error).__name__})") from error


def _place(error: BaseException) -> str:
    """Return where an error was raised, the innermost place first."""
    frames = extract_tb(error.__traceback__)[::-1][:_FRAMES]
    return " < ".join(f"{frame.filename}:{frame.lineno}" for frame in frames) or "a place unknown"
