"""Real server processes: started, killed, stopped and asked over HTTP."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import aiohttp
import orjson

import tertulia
from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.storm.listening import Heard, events, text_of

_KEPT_LINES: Final = 200
_START_SECONDS: Final = 60.0
_SOURCES: Final = Path(tertulia.__file__).parents[1]
CANNOT_CONNECT: Final[tuple[type[Exception], ...]] = (aiohttp.ClientError, ConnectionError, TimeoutError)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where servers run: what they share."""

    database_url: str
    fake: FakeOpenAI
    lease_seconds: float = 10.0
    shutdown_seconds: int = 0

    @property
    def environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("TERTULIA_")}
        return own | {
            "PYTHONPATH": str(_SOURCES),
            "OPENAI_BASE_URL": self.fake.base_url,
            "OPENAI_API_KEY": "sk-test",
            "TERTULIA_MODEL": "openai-chat:fake-1",
            "TERTULIA_DATABASE_URL": self.database_url,
            "TERTULIA_LEASE_SECONDS": str(self.lease_seconds),
            "TERTULIA_SHUTDOWN_SECONDS": str(self.shutdown_seconds),
            "TERTULIA_PORT": "0",
        }


class Server:
    """A process of the service, listening on a port of its own."""

    def __init__(self, running: Process) -> None:
        self._running = running
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, place: Place, *arguments: str, module: str = "tertulia") -> Self:
        """Start a server and return once it listens, or once it has died before it did."""
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, "serve", *arguments),
            env=place.environment,
            cwd="/",
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=PIPE,
            start_new_session=True,
        )
        server = cls(running)
        async with asyncio.timeout(_START_SECONDS):
            await server._url
        return server

    async def _read(self) -> None:
        assert self._running.stderr is not None
        async for raw in self._running.stderr:
            line = raw.decode(errors="replace").rstrip()
            self._lines.append(line)
            if '"event":"serving"' in line and not self._url.done():
                self._url.set_result(orjson.loads(line)["address"])
        if not self._url.done():
            self._url.set_result("")

    @property
    def url(self) -> str:
        """Its base URL; empty if it has died before it listened."""
        return self._url.result()

    @property
    def is_up(self) -> bool:
        """Whether it listens, as far as is known."""
        return bool(self.url) and self._running.returncode is None

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def log(self) -> str:
        """The last lines that it wrote."""
        return "\n".join(self._lines)

    async def ended(self) -> int:
        """Wait until it has ended; return its exit code."""
        code = await self._running.wait()
        await self._reading
        return code

    async def kill(self) -> None:
        """End it as a power failure would; may be called twice."""
        if self._running.returncode is None:
            self._running.kill()
        await self.ended()

    async def terminate(self) -> int:
        """Ask it to stop, and wait until it has; return its exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._running.send_signal(number)


@asynccontextmanager
async def serving(place: Place, *arguments: str, module: str = "tertulia") -> AsyncIterator[Server]:
    """A server, killed at the end if it still runs."""
    server = await Server.start(place, *arguments, module=module)
    try:
        assert server.url, server.log
        yield server
    finally:
        await server.kill()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back from a request."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def json(self) -> dict[str, object]:
        found: dict[str, object] = orjson.loads(self.body)
        return found

    @property
    def text(self) -> str:
        """The agent's answer, as the tutorial's surface gives it."""
        return str(self.json["response"])

    @property
    def said(self) -> str:
        """The agent's answer, as a run gives it."""
        messages = self.json["messages"]
        assert isinstance(messages, list)
        return text_of(messages[-1])


class Caller:
    """An HTTP client of the tutorial's surface."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def create_agent(self, server: Server, *, response_shape: str = "") -> str:
        agent = {"context": "C", "first_message": "Hi", "instructions": "I", "response_shape": response_shape}
        return str((await self.post(server, "/agents/create-agent", agent)).json["id"])

    async def create_conversation(self, server: Server, agent_id: str) -> str:
        made = await self.post(server, "/agents/create-conversation", {"agent_id": agent_id})
        return str(made.json["id"])

    async def begin(self, server: Server) -> str:
        """Create an agent and a conversation with it; return the conversation's id."""
        return await self.create_conversation(server, await self.create_agent(server))

    async def chat(self, server: Server, conversation: str, text: str, *, key: str | None = None) -> Answer:
        headers = {} if key is None else {"Idempotency-Key": key}
        body = {"conversation_id": conversation, "message": text}
        return await self.post(server, "/agents/chat-agent", body, headers=headers)

    async def post(
        self, server: Server, path: str, body: object, *, headers: dict[str, str] | None = None
    ) -> Answer:
        async with self._session.post(server.url + path, json=body, headers=headers) as response:
            return Answer(response.status, await response.read(), response.headers)

    async def get(self, server: Server, path: str) -> Answer:
        async with self._session.get(server.url + path) as response:
            return Answer(response.status, await response.read(), response.headers)

    async def hear(self, server: Server, heard: Heard, *, leave_at: int | None = None) -> int:
        """Begin a run and listen, or go on listening to it where we were; return the response's status.

        Ends with the stream, or after so many events.
        """
        async with self._listening(server, heard) as response:
            if response.status == 200:
                async with aclosing(events(response.content)) as stream:
                    async for told in stream:
                        heard.take(told)
                        leave_at = None if leave_at is None else leave_at - 1
                        if leave_at == 0:
                            break
            return response.status

    async def replay(self, server: Server, heard: Heard) -> Heard:
        """Return what is told of a run to somebody who begins to listen to it only now."""
        again = Heard(heard.conversation, heard.text, run_id=heard.run_id)
        await self.hear(server, again)
        return again

    def _listening(self, server: Server, heard: Heard) -> "aiohttp.client._RequestContextManager":
        if heard.run_id is None:
            body = {"conversation_id": heard.conversation, "message": heard.text, "stream": True}
            return self._session.post(
                f"{server.url}/v1/runs", json=body | heard.options, headers={"Idempotency-Key": heard.text}
            )
        headers = {} if heard.last is None else {"Last-Event-ID": str(heard.last)}
        return self._session.get(f"{server.url}/v1/runs/{heard.run_id}/events", headers=headers)

    async def exchanges(self, server: Server, conversation: str) -> Sequence[dict[str, str | None]]:
        """Return what was asked and answered in a conversation."""
        answer = await self.get(server, f"/agents/get-messages?conversation_id={conversation}")
        found: Sequence[dict[str, str | None]] = orjson.loads(answer.body)
        return found


@asynccontextmanager
async def calling(*, seconds: float = 60.0) -> AsyncIterator[Caller]:
    """A client that waits for so long at most."""
    timeout = aiohttp.ClientTimeout(total=seconds)
    # A connection per request: none is ever found dead because its server was killed meanwhile.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        yield Caller(session)
