"""Hints over Redis or Valkey: its channels."""

from importlib.util import find_spec
from typing import Any, Final, Self, TypeAlias

from typing_extensions import override

from tertulia.errors import InvalidInput, MissingExtra
from tertulia.hints.wired import Line, Pace, Receive, WiredHints
from tertulia.registry import load

_Pool: TypeAlias = Any
"""A pool of the library's connections; the library need not be there, and so has no types here."""

LIBRARY: Final = "valkey"
PREFIX: Final = "tertulia:hints:"

_LONG: Final = 60.0
"""Seconds; said with every wait, because the library counts a silence of five as a broken connection."""


class RedisHints(WiredHints):
    """Everybody who uses the same number of database on the same server hears each other."""

    def __init__(self, url: str, *, pace: Pace | None = None) -> None:
        super().__init__("Redis", pace=pace)
        self._url = url
        _pool_of(url)  # so that a URL that cannot be right is known before anything is opened

    @override
    @classmethod
    def from_url(cls, url: str) -> Self:
        return cls(url)

    @override
    async def connect(self, receive: Receive) -> Line:
        line = _RedisLine(_pool_of(self._url), receive)
        try:
            await line.subscribe()
        except BaseException:
            await line.close()
            raise
        return line


def _pool_of(url: str) -> _Pool:
    if find_spec(LIBRARY) is None:
        raise MissingExtra("hints over Redis need a library: pip install tertulia[redis]")
    try:
        return load("valkey.asyncio:ConnectionPool").from_url(url, decode_responses=True)
    except ValueError as error:
        raise InvalidInput("the URL of Redis names none: redis://user:password@host:6379/0") from error


class _RedisLine(Line):
    """Two connections of one pool: on one that has subscribed nothing else can be said."""

    def __init__(self, pool: _Pool, receive: Receive) -> None:
        self._pool, self._receive = pool, receive
        self._client = load("valkey.asyncio:Valkey")(connection_pool=pool)
        self._channel = f"{PREFIX}{pool.connection_kwargs.get('db') or 0}"
        self._subscribed = self._client.pubsub()

    async def subscribe(self) -> None:
        """Hear everything from now on."""
        await self._subscribed.subscribe(self._channel)
        await self._subscribed.get_message(timeout=_LONG)  # that it has subscribed

    @override
    async def send(self, text: str) -> None:
        await self._client.publish(self._channel, text)

    @override
    async def wait(self) -> None:
        while True:
            said = await self._subscribed.get_message(timeout=_LONG)
            if said is not None and said["type"] == "message":
                self._receive(said["data"])

    @override
    async def close(self) -> None:
        for connection in (self._subscribed, self._pool):
            await connection.aclose()
