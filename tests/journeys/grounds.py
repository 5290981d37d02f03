"""Databases for storms: a file, and a PostgreSQL behind a proxy, both made for one storm."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tertulia.testing.proxy import Proxy
from tests.postgres import PostgresServer


class File:
    """A SQLite file, which neither restarts nor can be cut off."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self.servers_url = self.url

    async def restart(self) -> None:
        raise AssertionError("a file is not restarted")

    def cut(self) -> int:
        return 0


class Behind:
    """A database of a PostgreSQL server that servers reach through a proxy, and the checker past it."""

    def __init__(self, server: PostgresServer, proxy: Proxy, database: str) -> None:
        self._server, self._proxy = server, proxy
        self.url = server.administrator_url(database)
        role = server.url(database).partition("//")[2].partition("@")[0]
        self.servers_url = f"postgresql://{role}@127.0.0.1:{proxy.port}/{database}"

    async def restart(self) -> None:
        """End the server as a loss of power would, and start it again."""
        await asyncio.to_thread(self._server.crash)
        await asyncio.to_thread(self._server.restart)

    def cut(self) -> int:
        """Cut every connection; return how many there were."""
        return self._proxy.cut()


@asynccontextmanager
async def behind_a_proxy(server: PostgresServer) -> AsyncIterator[Behind]:
    """A fresh database behind a proxy."""
    database = server.fresh(template="migrated")
    async with Proxy.to_socket(server.socket) as proxy:
        yield Behind(server, proxy, database)
