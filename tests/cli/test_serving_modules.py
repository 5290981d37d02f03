"""``tertulia serve MODULE:NAME``: agents in Python, with all that they have, in processes of their own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

import tertulia
from tertulia.testing.fake_openai import FakeOpenAI
from tests.cli.serving import served
from tests.cli.test_starting import run
from tests.server.doing import an_agent, log_of, said, until

KITCHEN = """
import os

from tertulia import Agent, tool
from tertulia.llms.scripted import ScriptedLLM
from tertulia.parts import ToolCall


@tool
def where() -> str:
    "Say in which process this is."
    return str(os.getpid())


def answered(prompt):
    last = prompt.messages[-1]
    return last.text if last.role == "tool" else ToolCall(id="call_1", name="where", arguments="{}")


chef = Agent(ScriptedLLM(answered), name="chef", tools=[where])


def staff():
    return {"waiter": Agent("scripted:text=Coming!", name="waiter")}
"""
PROGRAM = """
import asyncio
import sys

from tertulia import Agent, tool


@tool
def nothing() -> str:
    "Do nothing."
    return ""


store = sys.argv[-1] if __name__ == "__main__" else None
chef = Agent("openai-chat:fake", name="chef", tools=[nothing], store=store)


async def main() -> None:
    await chef.run("Soup, please. [[", session=chef.create_session("dinner"))


if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def kitchen(tmp_path: Path) -> None:
    """A module where the program is started."""
    (tmp_path / "kitchen.py").write_text(KITCHEN)


async def ask(client: httpx2.AsyncClient, text: str, **addressed: str) -> dict[str, Any]:
    response = await client.post("/agents/chat-agent", json={"message": text, **addressed})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_agents_of_modules_are_served_beside_those_that_are_stored(tmp_path: Path) -> None:
    named = ("kitchen:chef", "kitchen:staff")
    async with served(tmp_path, *named, TERTULIA_MODEL="scripted:echo") as (process, client):
        await an_agent(client, name="parrot")
        answers = [await ask(client, "hello", agent_id=name) for name in ("chef", "waiter", "parrot")]

    assert [answer["response"] for answer in answers] == [str(process.pid), "Coming!", "hello"]


async def test_a_setting_names_them_as_well(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TERTULIA_AGENTS=kitchen:chef\n")

    async with served(tmp_path, TERTULIA_MODEL="scripted:echo") as (process, client):
        answer = await ask(client, "hello", agent_id="chef")

    assert answer["response"] == str(process.pid)


async def test_every_worker_serves_them(tmp_path: Path, postgres_url: str) -> None:
    env = {"TERTULIA_DATABASE_URL": postgres_url, "TERTULIA_MODEL": "scripted:echo"}
    pids: set[str] = set()
    async with served(tmp_path, "kitchen:chef", "--workers", "2", **env) as (process, first):
        try:
            while len(pids) < 2:
                # All at once, each over a connection of its own, so that no worker can take them all.
                pids |= set(await asyncio.gather(*(pid_at(first.base_url) for _ in range(8))))
            shown = (await first.get("/v1/agents/chef")).json()
        finally:
            process.send_signal(signal.SIGTERM)
            await process.communicate()

    assert str(process.pid) not in pids
    assert (shown["version"], shown["program"]) == (1, "program:chef")


async def pid_at(address: httpx2.URL) -> str:
    async with httpx2.AsyncClient(base_url=address, timeout=30) as client:
        return str((await ask(client, "hello", agent_id="chef"))["response"])


async def test_what_a_program_was_killed_over_is_answered_where_it_is_served(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    async with FakeOpenAI() as model:
        env = {
            "OPENAI_BASE_URL": model.base_url,
            "OPENAI_API_KEY": "sk-test",
            "TERTULIA_MODEL": "openai-chat:fake",
            "TERTULIA_DATABASE_URL": url,
        }
        model.fault("hang", times=1)
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "program.py", url),
            cwd=tmp_path,
            env=env | {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(tertulia.__file__).parents[1])},
        )
        await until(lambda: model.open == 1)
        program.kill()
        await program.wait()

        async with served(tmp_path, "program:chef", **env) as (_, client):
            [run_before] = await runs_of(client, "dinner")
            await client.get(f"/v1/runs/{run_before['id']}/events")
            log = await log_of(client, "dinner")

    asked, answered = said(log)
    assert asked == "Soup, please. [["
    assert answered.startswith("m=1 ")


async def runs_of(client: httpx2.AsyncClient, conversation: str) -> list[dict[str, Any]]:
    response = await client.get("/v1/runs", params={"conversation_id": conversation})
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["data"]
    return found


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["chat", "--agents"]])
@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("pantry:chef", "there is no module 'pantry'"),
        ("kitchen:cook", "there is no 'cook' in the module 'kitchen'"),
        ("kitchen:where", "should be an Agent"),
    ],
)
def test_a_name_that_leads_nowhere_ends_the_start_with_one_line(
    tmp_path: Path, command: list[str], named: str, told: str
) -> None:
    done = run(*command, named, cwd=tmp_path)

    assert done.returncode == 2
    assert done.stderr.startswith("tertulia: agents to serve: ")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def chat(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Say hello to an agent in the terminal."""
    usual = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(tertulia.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, "-m", "tertulia", "chat", *arguments],
        cwd=cwd,
        env=usual | {"TERTULIA_MODEL": "scripted:echo"} | env,
        input="hello\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_they_can_be_talked_to_in_the_terminal(tmp_path: Path) -> None:
    by_option = chat("chef", "--agents", "kitchen:chef", cwd=tmp_path)
    by_setting = chat("chef", cwd=tmp_path, TERTULIA_AGENTS="kitchen")
    without = chat("chef", cwd=tmp_path)

    assert [(each.returncode, each.stderr) for each in (by_option, by_setting)] == [(0, "")] * 2
    assert by_option.stdout.strip().isdecimal()
    assert by_setting.stdout != by_option.stdout
    assert without.returncode == 1
    assert without.stderr == (
        "tertulia: the agent 'chef' is part of a program; name the module that it is in: "
        "tertulia chat chef --agents MODULE:NAME\n"
    )


def examined(cwd: Path, **env: str) -> dict[str, list[tuple[str, str]]]:
    """Return what the doctor finds, by what it is about."""
    done = run("doctor", "--json", cwd=cwd, **{"TERTULIA_PORT": "0"} | env)
    found: dict[str, list[tuple[str, str]]] = {}
    for each in json.loads(done.stdout)["findings"]:
        found.setdefault(each["about"], []).append((each["mark"], each["text"]))
    return found


def test_the_doctor_knows_which_agents_are_served_and_which_are_not(tmp_path: Path) -> None:
    chat("chef", "--agents", "kitchen:chef", cwd=tmp_path)

    here = examined(tmp_path, TERTULIA_AGENTS="kitchen")
    elsewhere = examined(tmp_path)
    nowhere = examined(tmp_path, TERTULIA_AGENTS="pantry")

    assert here["agents"] == [("good", "of programs: chef")]
    assert elsewhere["agents"] == [("good", "chef is part of a program: it is answered where that is served")]
    assert [mark for mark, _ in nowhere["agents"]] == ["broken"]
    assert all(mark == "good" for mark, _ in here["model"])


def test_the_doctor_reads_the_file_of_databases(tmp_path: Path) -> None:
    file = tmp_path / "databases.json"
    file.write_text('{"databases": {"shop": {"url": "sqlite:///shop.db", "tables": ["orders"]}}}')

    good = examined(tmp_path, TERTULIA_DATABASES_FILE=str(file))
    missing = examined(tmp_path, TERTULIA_DATABASES_FILE="nowhere.json")

    assert good["databases"] == [("good", "for agents to read: shop")]
    assert missing["databases"] == [("broken", "nowhere.json cannot be read: no such file or directory")]
    assert "databases" not in examined(tmp_path)
