"""One connection to a server of tools that speaks MCP, held by a task of its own."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from mcp import Client, ClientSession
from mcp.types import Implementation
from typing_extensions import override

from tertulia.errors import ToolUnavailable
from tertulia.tools.allowance import MB, Allowance

if TYPE_CHECKING:
    from mcp.client._transport import ReadStream, TransportStreams
    from mcp.shared.message import SessionMessage

Connect: TypeAlias = "Callable[[Allowance], AbstractAsyncContextManager[TransportStreams]]"
"""Returns what, when it is entered, has connected to a server, which is heard within an allowance."""
MAX_ANSWER: Final = 4 * MB
"""Bytes of one answer of a server, if nothing else was said."""

_CLOSE_SECONDS: Final = 10.0
_US: Final = Implementation(name="tertulia", version="1")


class Line:
    """A connection that is used by many tasks, and entered and left by one.

    The library demands that: what it opens it may close in no other task.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        connect_seconds: float,
        idle_seconds: float | None = None,
        max_answer: int = MAX_ANSWER,
    ) -> None:
        """Begin to connect; after ``idle_seconds`` without use, or a bit later, it ends by itself."""
        self._allowance = Allowance(max_answer)
        self._connect, self._connect_seconds, self._idle_seconds = connect, connect_seconds, idle_seconds
        self._loop = asyncio.get_running_loop()
        self._session: ClientSession | None = None
        self._connected, self._over = asyncio.Event(), asyncio.Event()
        self._uses, self._was_used, self._is_retired = 0, False, False
        self.failure: BaseException | None = None
        """What has ended it, if that was no wish of ours."""
        self._task = asyncio.create_task(self._hold(), name="tertulia-mcp")

    @property
    def is_usable(self) -> bool:
        """Whether it is open or about to be, for the event loop that runs."""
        is_open = not self._over.is_set() and not self._is_retired
        return is_open and self._loop is asyncio.get_running_loop()

    @property
    def is_open(self) -> bool:
        """Whether the server can be asked at once."""
        return self.is_usable and self._session is not None

    @property
    def is_gone(self) -> bool:
        """Whether nothing of it is left to be closed by the event loop that runs."""
        return self._task.done() or self._loop is not asyncio.get_running_loop()

    @property
    def exceeded(self) -> str | None:
        """What the server has said too much since it was asked last, as that may be told."""
        return self._allowance.exceeded

    async def connected(self) -> None:
        """Wait until it is open; raises :class:`ToolUnavailable` if it will never be."""
        await self._connected.wait()
        if self._session is None:
            raise ToolUnavailable("the connection could not be opened")

    @contextmanager
    def use(self) -> Iterator[ClientSession]:
        """Ask the server; raises :class:`ToolUnavailable` if it has ended since."""
        if self._session is None:
            raise ToolUnavailable("the connection has ended")
        self._uses += 1
        self._was_used = True
        self._allowance.renew()
        try:
            yield self._session
        finally:
            self._uses -= 1
            self._end_if_retired()

    def retire(self) -> None:
        """Take no new uses; it ends when those of now have ended."""
        self._is_retired = True
        self._end_if_retired()

    async def close(self) -> None:
        """End it, whatever is asked on it; may be called twice."""
        self._over.set()
        if self._loop is not asyncio.get_running_loop():
            return  # That loop has ended, or will cancel the task when it does.
        if not self._connected.is_set():
            self._task.cancel()
        _, late = await asyncio.wait({self._task}, timeout=_CLOSE_SECONDS)
        if late:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_CLOSE_SECONDS)

    def _end_if_retired(self) -> None:
        if self._is_retired and not self._uses:
            self._over.set()

    async def _hold(self) -> None:
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(self._connect_seconds):
                    client = await stack.enter_async_context(self._client())
                self._session = client.session
                self._connected.set()
                await self._rest()
                self._session = None
        except Exception as error:  # noqa: BLE001  # a library's, of many kinds: told to whoever asks next
            self.failure = error
        finally:
            self._session = None
            self._over.set()
            self._connected.set()

    def _client(self) -> Client:
        return Client(_Watched(self._connect(self._allowance), self._over), cache=None, client_info=_US)

    async def _rest(self) -> None:
        """Wait until nobody needs it any longer."""
        while not self._over.is_set():
            try:
                async with asyncio.timeout(self._idle_seconds):
                    await self._over.wait()
            except TimeoutError:
                if not self._uses and not self._was_used:
                    return
                self._was_used = False


class _Watched(AbstractAsyncContextManager["TransportStreams"]):
    """A transport that says when its server has nothing more to say: the library keeps that to itself."""

    def __init__(
        self, inner: "AbstractAsyncContextManager[TransportStreams]", is_over: asyncio.Event
    ) -> None:
        self._inner, self._is_over = inner, is_over

    @override
    async def __aenter__(self) -> "TransportStreams":
        heard, said = await self._inner.__aenter__()
        return _Ear(heard, self._is_over), said

    @override
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._inner.__aexit__(kind, error, traceback)


class _Ear:
    """A stream of what a server says, which sets an event at its end."""

    def __init__(self, inner: "ReadStream[SessionMessage | Exception]", is_over: asyncio.Event) -> None:
        self._inner, self._is_over = inner, is_over

    @property
    def last_context(self) -> Any:  # noqa: ANN401  # the library's own, handed through
        return getattr(self._inner, "last_context", None)

    async def receive(self) -> "SessionMessage | Exception":
        try:
            return await self._inner.receive()
        except Exception:
            self._is_over.set()
            raise

    async def aclose(self) -> None:
        self._is_over.set()
        await self._inner.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> "SessionMessage | Exception":
        try:
            return await self._inner.__anext__()
        except Exception:  # The end of an iteration, too, is an exception.
            self._is_over.set()
            raise

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._is_over.set()
        return await self._inner.__aexit__(kind, error, traceback)
