"""Hints over PostgreSQL: NOTIFY on a connection of its own, never inside anybody's transaction."""

import asyncio
from typing import Any, Final, Self, TypeAlias

import asyncpg
from typing_extensions import override

from tertulia.hints.wired import Line, Pace, Receive, WiredHints

_Raw: TypeAlias = Any
"""An asyncpg connection, which has no types."""

CHANNEL: Final = "tertulia_hints"

_NOTIFY: Final = "SELECT pg_notify($1, $2)"
_SETTINGS: Final = {"application_name": "tertulia-hints"}


class PostgreSQLHints(WiredHints):
    """Everybody who is connected to the same database hears each other.

    Needs a session of its own: a pooler that shares sessions (pgbouncer's transaction mode) passes
    nothing on. Give hints a direct URL there.
    """

    def __init__(self, dsn: str, *, pace: Pace | None = None) -> None:
        super().__init__("PostgreSQL", pace=pace)
        self._dsn = dsn

    @override
    @classmethod
    def from_url(cls, url: str) -> Self:
        scheme, _, rest = url.partition("://")
        return cls(f"{scheme.partition('+')[0]}://{rest}")

    @override
    async def connect(self, receive: Receive) -> Line:
        raw = await asyncpg.connect(self._dsn, server_settings=_SETTINGS)
        line = _PostgreSQLLine(raw)
        try:
            await raw.add_listener(CHANNEL, lambda *said: receive(said[-1]))
        except BaseException:
            raw.terminate()
            raise
        return line


class _PostgreSQLLine(Line):
    """One connection, which both says and hears."""

    def __init__(self, raw: _Raw) -> None:
        self._raw = raw
        self._broken = asyncio.Event()
        raw.add_termination_listener(lambda _: self._broken.set())

    @override
    async def send(self, text: str) -> None:
        await self._raw.execute(_NOTIFY, CHANNEL, text)

    @override
    async def wait(self) -> None:
        await self._broken.wait()
        raise ConnectionError("the database has closed the connection")

    @override
    async def close(self) -> None:
        await self._raw.close()
