"""A server that is asked to stop tells everybody where to go on, and loses nothing."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2
import pytest

from tertulia.testing.fake_openai import FakeOpenAI
from tests.cli.serving import served
from tests.server.doing import Told, a_conversation, begin, log_of, said, told, until

SECONDS = 20


@dataclass(frozen=True)
class Place:
    """What servers share that follow one another."""

    cwd: Path
    model: FakeOpenAI
    database: str | None = None

    def environment(self, *, shutdown_seconds: int = 1) -> dict[str, str]:
        usual = {
            "OPENAI_BASE_URL": self.model.base_url,
            "OPENAI_API_KEY": "sk-test",
            "TERTULIA_MODEL": "openai-chat:fake",
            "TERTULIA_LEASE_SECONDS": "2",
            "TERTULIA_SHUTDOWN_SECONDS": str(shutdown_seconds),
        }
        return usual | ({} if self.database is None else {"TERTULIA_DATABASE_URL": self.database})


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with FakeOpenAI(reply_chars=20) as model:
        yield Place(tmp_path, model)


@asynccontextmanager
async def streaming(service: httpx2.AsyncClient, conversation: str) -> AsyncIterator[AsyncIterator[str]]:
    """Begin a run, and yield its stream as it comes."""
    body = {"conversation_id": conversation, "message": "hi [[", "stream": True}
    async with service.stream("POST", "/v1/runs", json=body) as response:
        assert response.status_code == 200
        yield response.aiter_text()


async def rest_of(stream: AsyncIterator[str]) -> list[Told]:
    return told("".join([piece async for piece in stream]))


async def test_a_stream_goes_on_at_the_next_server(place: Place) -> None:
    place.model.fault("hang", times=1)
    async with served(place.cwd, **place.environment()) as (process, client):
        conversation = await a_conversation(client)
        async with streaming(client, conversation) as stream:
            await until(lambda: place.model.open == 1)
            process.send_signal(signal.SIGTERM)
            before = await rest_of(stream)
        await process.wait()

    async with served(place.cwd, **place.environment()) as (_, client):
        after = told((await client.get(before[-1].data["url"])).text)
        log = await log_of(client, conversation)

    assert before[-1].kind == "stream.resume"
    assert before[-1].data["starting_after"] == before[-2].id
    assert all(event.id is not None and event.id > (before[-2].id or 0) for event in after)
    assert after[-1].data["status"] == "completed"
    assert said(after[-1].data["messages"]) == said(log)[1:]
    assert len(log) == 2


async def test_every_worker_tells_its_streams_where_to_go_on(place: Place, postgres_url: str) -> None:
    place.model.fault("hang", times=1)
    env = replace(place, database=postgres_url).environment(shutdown_seconds=2)
    async with served(place.cwd, "--workers", "2", **env) as (process, client):
        conversation = await a_conversation(client)
        async with streaming(client, conversation) as stream:
            await until(lambda: place.model.open == 1)
            process.send_signal(signal.SIGTERM)
            before = await rest_of(stream)
        async with asyncio.timeout(SECONDS):
            _, log = await process.communicate()

    assert before[-1].kind == "stream.resume"
    assert log.count(b'"event":"stopping","signal":"SIGTERM","within_seconds":2') == 2


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=lambda sign: sign.name)
async def test_a_second_signal_forces(place: Place, second: signal.Signals) -> None:
    place.model.fault("hang", times=1)
    async with served(place.cwd, **place.environment(shutdown_seconds=600)) as (process, client):
        conversation = await a_conversation(client)
        asking = asyncio.create_task(begin(client, conversation, "hi"))
        await until(lambda: place.model.open == 1)

        process.send_signal(signal.SIGTERM)
        await refused(client)
        process.send_signal(second)
        async with asyncio.timeout(SECONDS):
            await process.wait()
        await asyncio.gather(asking, return_exceptions=True)


async def test_a_second_signal_forces_all_workers(place: Place, postgres_url: str) -> None:
    place.model.fault("hang", times=1)
    env = replace(place, database=postgres_url).environment(shutdown_seconds=600)
    async with served(place.cwd, "--workers", "2", **env) as (process, client):
        conversation = await a_conversation(client)
        asking = asyncio.create_task(begin(client, conversation, "hi"))
        await until(lambda: place.model.open == 1)

        process.send_signal(signal.SIGTERM)
        await refused(client)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(SECONDS):
            await process.wait()
        await asyncio.gather(asking, return_exceptions=True)


async def refused(client: httpx2.AsyncClient) -> None:
    """Return once the server takes no connections any more."""
    async with httpx2.AsyncClient(base_url=client.base_url) as stranger:
        with suppress(httpx2.TransportError):
            while True:
                await stranger.get("/livez", headers={"connection": "close"})
