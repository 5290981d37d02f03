"""The service within somebody else's application: mounted under a path, started and stopped with it."""

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

import tertulia
from tertulia import Agent
from tertulia.errors import InvalidInput, Stopping, StoreUnavailable
from tertulia.llms.scripted import ScriptedLLM
from tertulia.serving import Server
from tertulia.settings import Settings
from tertulia.testing.fake_openai import FakeOpenAI
from tests.server.doing import Told, log_of, said, told, until

IN_MEMORY = Settings(database_url="memory://", model="scripted:echo", shutdown_seconds=0)


def a_server(settings: Settings = IN_MEMORY) -> Server:
    return Server(agents=[Agent(ScriptedLLM(lambda prompt: "Soup"), name="chef")], settings=settings)


def an_application(server: Server) -> FastAPI:
    """Return an application with a route of its own, in which the service is mounted."""
    app = FastAPI(lifespan=server.lifespan)

    @app.get("/menu")
    async def menu() -> list[str]:
        return ["soup"]

    app.mount("/chat", server)
    return app


@asynccontextmanager
async def running(app: FastAPI, path: str = "") -> AsyncIterator[httpx2.AsyncClient]:
    """Run an application; the client's addresses begin with this path in it."""
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url=f"http://localhost{path}") as client,
    ):
        yield client


async def ask(client: httpx2.AsyncClient, text: str, **addressed: str) -> httpx2.Response:
    return await client.post("agents/chat-agent", json={"message": text, **addressed})


async def test_it_answers_under_its_path_beside_the_routes_of_the_application() -> None:
    async with running(an_application(a_server())) as client:
        menu = await client.get("/menu")
        answer = await client.post("/chat/agents/chat-agent", json={"message": "hi", "agent_id": "chef"})
        elsewhere = await client.post("/agents/chat-agent", json={"message": "hi", "agent_id": "chef"})

    assert menu.json() == ["soup"]
    assert (answer.status_code, answer.json()["response"]) == (200, "Soup")
    assert elsewhere.status_code == 404


async def test_every_address_that_it_tells_leads_to_it() -> None:
    async with running(an_application(a_server())) as client:
        run = await client.post(
            "/chat/v1/runs", json={"agent_id": "chef", "message": "hi", "background": True}
        )
        told_run = await client.get(run.headers["location"])
        await ask_twice(client, told_run.json()["conversation_id"])
        page = await client.get(
            f"/chat/v1/conversations/{told_run.json()['conversation_id']}/messages", params={"limit": 1}
        )
        following = page.headers["link"].partition("<")[2].partition(">")[0]
        next_page = await client.get(following)

    assert run.headers["location"].startswith("/chat/v1/runs/run_")
    assert told_run.json()["id"] == run.json()["id"]
    assert following.startswith("/chat/v1/conversations/")
    assert [len(each.json()["data"]) for each in (page, next_page)] == [1, 1]


async def ask_twice(client: httpx2.AsyncClient, conversation: str) -> None:
    for text in ("one", "two"):
        body = {"message": text, "conversation_id": conversation}
        assert (await client.post("/chat/agents/chat-agent", json=body)).status_code == 200


async def test_its_pages_find_what_they_need() -> None:
    async with running(an_application(a_server())) as client:
        home = await client.get("/chat/", headers={"accept": "text/html"})
        bare = await client.get("/chat", follow_redirects=True)
        docs = await client.get("/chat/docs")
        found = [
            await client.get(f"/chat/{name}") for name in re.findall(r'(?:href|src)="([\w./-]+)"', docs.text)
        ]
        described = (await client.get("/chat/openapi.json")).json()
        own = (await client.get("/openapi.json")).json()

    assert "http://localhost/chat/agents/create-agent" in home.text
    assert bare.json()["message"].startswith("Tertulia")
    assert [each.status_code for each in (docs, *found)] == [200] * 4
    assert described["servers"] == [{"url": "/chat"}]
    assert "/v1/runs" in described["paths"]
    assert set(own["paths"]) == {"/menu"}


async def test_an_application_with_a_lifespan_of_its_own_starts_it_there() -> None:
    server, opened = a_server(), []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        opened.append("before")
        async with server as started:
            assert started is server
            yield
        opened.append("after")

    app = FastAPI(lifespan=lifespan)
    app.mount("/chat", server)
    async with running(app, "/chat/") as client:
        answer = await ask(client, "hi", agent_id="chef")

    assert answer.json()["response"] == "Soup"
    assert opened == ["before", "after"]


async def test_it_can_be_started_again_and_goes_on_where_it_was(sqlite_url: str) -> None:
    app = an_application(a_server(Settings(database_url=sqlite_url, model="scripted:echo")))

    async with running(app, "/chat/") as client:
        conversation = (await ask(client, "one", agent_id="chef")).json()["conversation_id"]
    async with running(app, "/chat/") as client:
        await ask(client, "two", conversation_id=conversation)
        log = await log_of(client, conversation)

    assert said(log) == ["one", "Soup", "two", "Soup"]


async def test_a_server_that_nobody_started_says_how_to() -> None:
    app = FastAPI()
    app.mount("/chat", a_server())

    async with running(app, "/chat/") as client:
        answer = await ask(client, "hi", agent_id="chef")

    assert (answer.status_code, answer.json()["code"]) == (503, "stopping")
    assert "FastAPI(lifespan=server.lifespan)" in answer.json()["detail"]


async def test_what_is_no_request_is_refused_by_one_that_nobody_started() -> None:
    async def nothing(*_: object) -> dict[str, object]:
        raise AssertionError("nothing is to be read or sent")

    with pytest.raises(Stopping, match="not started"):
        await a_server()({"type": "websocket"}, nothing, nothing)  # type: ignore[arg-type]  # sends nothing


async def test_starting_it_twice_is_refused() -> None:
    server = a_server()

    async with server:
        with pytest.raises(InvalidInput, match="started already"):
            await server.__aenter__()


def test_agents_that_cannot_be_told_apart_are_refused_at_once() -> None:
    with pytest.raises(InvalidInput, match="two agents are named 'chef'"):
        Server([Agent("scripted:echo", name="chef"), Agent("scripted:echo", name="chef")])


async def test_what_keeps_it_from_starting_keeps_the_application_from_starting(tmp_path: Path) -> None:
    (tmp_path / "some.db").write_bytes(b"no database at all " * 500)
    server = a_server(Settings(database_url=f"sqlite:///{tmp_path / 'some.db'}"))

    with pytest.raises(StoreUnavailable):
        async with running(an_application(server)):
            pass


async def test_the_settings_of_the_environment_count_when_it_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    server = Server()
    monkeypatch.setenv("TERTULIA_DATA_DIR", str(tmp_path / "kept"))
    monkeypatch.setenv("TERTULIA_MODEL", "scripted:echo")

    async with running(an_application(server), "/chat/") as client:
        ready = await client.get("readyz")

    assert ready.status_code == 200
    assert (tmp_path / "kept" / "tertulia.db").exists()
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700


async def test_a_host_that_is_not_this_machine_is_let_in_by_whoever_says_so() -> None:
    open_to_all = IN_MEMORY.model_copy(update={"auth": "none-at-my-own-risk"})
    statuses = []

    for settings in (IN_MEMORY, open_to_all):
        async with running(an_application(a_server(settings))) as client:
            statuses.append((await client.get("http://shop.example/chat/readyz")).status_code)

    assert statuses == [421, 200]


HOST = """
from fastapi import FastAPI

from tertulia import Agent
from tertulia.serving import Server

server = Server(agents=[Agent(name="chef", tools=[])])
app = FastAPI(lifespan=server.lifespan)
app.mount("/chat", server)
"""


@asynccontextmanager
async def as_process(folder: Path, **env: str) -> AsyncIterator[tuple[Process, httpx2.AsyncClient]]:
    """Have uvicorn serve the application in a process of its own."""
    (folder / "host.py").write_text(HOST)
    usual = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(tertulia.__file__).parents[1])}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "host:app", "--port", "0"),
        cwd=folder,
        env=usual | env,
        stderr=PIPE,
    )
    try:
        async with httpx2.AsyncClient(base_url=await _announced(process), timeout=30) as client:
            yield process, client
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _announced(process: Process) -> str:
    assert process.stderr is not None
    async for line in process.stderr:
        if found := re.search(rb"running on (http://[\d.:]+)", line):
            return found[1].decode()
    raise AssertionError("it ended before it served")


async def rest_of(stream: AsyncIterator[str]) -> list[Told]:
    return told("".join([piece async for piece in stream]))


async def test_asked_to_stop_it_tells_who_listens_where_to_go_on(tmp_path: Path) -> None:
    async with FakeOpenAI() as model:
        env = {
            "OPENAI_BASE_URL": model.base_url,
            "OPENAI_API_KEY": "sk-test",
            "TERTULIA_MODEL": "openai-chat:fake",
            "TERTULIA_LEASE_SECONDS": "2",
            "TERTULIA_SHUTDOWN_SECONDS": "1",
        }
        model.fault("hang", times=1)
        async with as_process(tmp_path, **env) as (process, client):
            body = {"agent_id": "chef", "message": "hi [[", "stream": True}
            async with client.stream("POST", "/chat/v1/runs", json=body) as response:
                await until(lambda: model.open == 1)
                process.send_signal(signal.SIGTERM)
                before = await rest_of(response.aiter_text())
            await process.wait()

        async with as_process(tmp_path, **env) as (_, client):
            after = told((await client.get(before[-1].data["url"])).text)

    assert before[-1].kind == "stream.resume"
    assert before[-1].data["url"].startswith("/chat/v1/runs/run_")
    assert after[-1].data["status"] == "completed"
