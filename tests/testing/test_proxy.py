import asyncio
from collections.abc import AsyncIterator

import pytest

from tertulia.testing.proxy import Proxy


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(100):
        writer.write(piece)
    writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """A proxy of a server that says everything back."""
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Proxy(lambda: asyncio.open_connection("127.0.0.1", port)) as proxy:
        yield proxy
    server.close()


async def _said_back(proxy: Proxy, said: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(said)
        writer.write_eof()
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_everything_is_passed_on_until_the_client_has_ended(proxy: Proxy) -> None:
    assert await _said_back(proxy, b"hello") == b"hello"


async def test_connections_are_cut_all_at_once_and_new_ones_let_in(proxy: Proxy) -> None:
    ends = [await asyncio.open_connection("127.0.0.1", proxy.port) for _ in range(3)]
    for reader, writer in ends:
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"

    count = proxy.cut()
    left = [await asyncio.gather(reader.read(), return_exceptions=True) for reader, _ in ends]
    for _, writer in ends:
        writer.close()

    assert count == 3
    assert all(found == b"" or isinstance(found, ConnectionError) for [found] in left)
    assert await _said_back(proxy, b"again") == b"again"


async def test_nobody_is_let_in_while_it_refuses(proxy: Proxy) -> None:
    proxy.refusing = True

    refused = await _said_back(proxy, b"hello")
    proxy.refusing = False

    assert refused == b""
    assert await _said_back(proxy, b"again") == b"again"


async def test_nothing_is_passed_on_while_it_does_not_flow(proxy: Proxy) -> None:
    proxy.flowing.clear()
    task = asyncio.create_task(_said_back(proxy, b"hello"))

    done, _ = await asyncio.wait([task], timeout=0.05)
    proxy.flowing.set()

    assert not done
    assert await task == b"hello"
