"""Programs that speak MCP: started, spoken to over their standard input and output, and ended.

The library has such a transport, too, which keeps a line of any length, at a cost that grows with its
square, and so cannot be used with a program that may go wrong.
"""

import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio
from anyio.abc import Process
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp.types import jsonrpc_message_adapter

from tertulia.errors import ToolUnavailable
from tertulia.tools.allowance import Allowance
from tertulia.tools.mcp_file import Program

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

_Heard: TypeAlias = SessionMessage | Exception

_LOG: Final = logging.getLogger(__name__)
_LAST_WORDS_SECONDS: Final = 0.5
_GRACE_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.01
_GONE: Final = (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError)


@asynccontextmanager
async def over_pipes(program: Program, allowance: Allowance) -> "AsyncIterator[TransportStreams]":
    """Start a program, and end it, with all that it has started, when this is left.

    It counts as gone when it says more than its allowance. Raises ``OSError`` if it cannot be started.
    """
    running = await anyio.open_process(
        [program.command, *program.args],
        env=get_default_environment() | dict(program.env),
        stderr=None,  # Ours.
        cwd=program.cwd,
        start_new_session=True,
    )
    # Nothing is waited for from here on until it would be ended.
    to_session, heard = anyio.create_memory_object_stream[_Heard](0)
    said, from_session = anyio.create_memory_object_stream[SessionMessage](0)
    has_said_all = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_hear, running, to_session, allowance)
        tasks.start_soon(_say, running, from_session, to_session, has_said_all)
        try:
            yield heard, said
        finally:
            with anyio.CancelScope(shield=True):
                heard.close()
                said.close()
                with anyio.move_on_after(_LAST_WORDS_SECONDS):
                    await has_said_all.wait()
                await _end(running, 0 if allowance.exceeded else _GRACE_SECONDS)
            tasks.cancel_scope.cancel()


class Lines:
    """Parts what comes piece by piece into lines, each piece looked at once."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._begun: list[bytes] = []
        self._size = 0

    def take(self, piece: bytes) -> list[bytes]:
        """Return the lines that a piece completes; raises :class:`ToolUnavailable` beyond the allowance."""
        first, *others = piece.split(b"\n")
        self._size += len(first)
        self._allowance.heard(len(piece), so_far=self._size, lines=len(others))
        self._begun.append(first)
        if not others:
            return []
        *whole, rest = others
        lines = [b"".join(self._begun), *whole]
        self._begun, self._size = [rest], len(rest)
        return lines


async def _hear(running: Process, to_session: MemoryObjectSendStream[_Heard], allowance: Allowance) -> None:
    """Hand on what a program says, until it is gone, has said too much, or nobody listens."""
    assert running.stdout  # noqa: S101  # it was started with pipes
    lines = Lines(allowance)
    async with to_session:
        with suppress(*_GONE, ToolUnavailable):
            async for piece in running.stdout:
                for line in lines.take(piece):
                    if message := _message(line):
                        await to_session.send(message)
    if allowance.exceeded:
        _LOG.warning("a program that is a server of tools %s, and is ended", allowance.exceeded)
        return
    # One that cannot write does not see either that it is to end.
    with suppress(*_GONE):
        async for _ in running.stdout:
            pass


async def _say(
    running: Process,
    from_session: MemoryObjectReceiveStream[SessionMessage],
    to_session: MemoryObjectSendStream[_Heard],
    has_said_all: anyio.Event,
) -> None:
    """Tell a program what it is asked."""
    assert running.stdin  # noqa: S101  # it was started with pipes
    try:
        async with from_session:
            async for asked in from_session:
                text = asked.message.model_dump_json(by_alias=True, exclude_unset=True)
                await running.stdin.send(text.encode() + b"\n")
    except _GONE:
        to_session.close()  # Nobody is to wait for an answer.
    finally:
        has_said_all.set()


def _message(line: bytes) -> SessionMessage | None:
    """Return the message in a line; other things that a program may write are passed over."""
    if not line.strip():
        return None
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError:
        _LOG.debug("a program that is a server of tools wrote a line that is no message")
        return None


async def _end(running: Process, grace_seconds: float) -> None:
    """End a program: by closing its input, then by asking it to, then by force."""
    assert running.stdin and running.stdout  # noqa: S101  # it was started with pipes
    with suppress(*_GONE):
        await running.stdin.aclose()
    await _has_ended(running, grace_seconds)
    _signal(running, is_last=False)  # Also if it has ended: what it has started may not have.
    if not await _has_ended(running, _GRACE_SECONDS):
        _signal(running, is_last=True)
        await _has_ended(running, _GRACE_SECONDS)
    with suppress(*_GONE):
        await running.stdout.aclose()
    # A child of its own may hold its pipes open, and nothing public closes them.
    transport = getattr(getattr(running, "_process", None), "_transport", None)
    if transport is not None:
        with suppress(PermissionError):
            transport.close()


async def _has_ended(running: Process, seconds: float) -> bool:
    """Whether a program ends in time. Waiting for it would also wait for all who have its pipes."""
    with anyio.move_on_after(seconds):
        while running.returncode is None:  # noqa: ASYNC110  # there is no event for it
            await anyio.sleep(_POLL_SECONDS)
    return running.returncode is not None


def _signal(running: Process, *, is_last: bool) -> None:
    """Tell a program, with all that it has started, to end."""
    if sys.platform == "win32":
        running.kill()
    else:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(running.pid, signal.SIGKILL if is_last else signal.SIGTERM)
