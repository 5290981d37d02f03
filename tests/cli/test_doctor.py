"""``tertulia doctor`` says what is there, what is missing and what to type, and tells no secret."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tertulia
from tertulia.cli.doctor.extras import is_installed
from tertulia.cli.doctor.findings import Finding, without_secrets
from tertulia.definitions import AgentDefinition
from tertulia.stores import open_store
from tertulia.stores.sql.migrate import upgrade
from tertulia.testing.fake_openai import FakeOpenAI
from tests.cli.serving import served
from tests.postgres import PostgresServer
from tests.valkey import ValkeyServer

TOOLS = """
from tertulia import tool


@tool
def weather(city: str) -> str:
    '''Tell the weather in a city.'''
    return "sunny"
"""


def doctor(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the program in a directory of its own, on a port of its own."""
    usual = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(tertulia.__file__).parents[1]),
        "TERTULIA_PORT": "0",
    }
    return subprocess.run(
        [sys.executable, "-m", "tertulia", "doctor", *arguments],
        cwd=cwd,
        env=usual | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def found(*arguments: str, cwd: Path, **env: str) -> tuple[bool, str, dict[str, list[Finding]]]:
    """Return whether all is well, what is to be done next, and the findings by what they are about."""
    done = doctor("--json", *arguments, cwd=cwd, **env)
    told: dict[str, Any] = json.loads(done.stdout)
    assert done.stderr == ""
    assert done.returncode == (0 if told["ok"] else 1)
    by_subject: dict[str, list[Finding]] = {}
    for each in told["findings"]:
        by_subject.setdefault(each["about"], []).append(Finding(**each))
    return told["ok"], told["next"], by_subject


def an_agent(folder: Path, name: str, **chosen: Any) -> str:
    """Keep an agent in a database in this directory, and return its URL."""
    url = f"sqlite:///{folder / 'kept.db'}"

    async def keep() -> None:
        store = open_store(url)
        await store.open()
        await store.agents.create(0, f"agent_{1:032x}", AgentDefinition(name=name, **chosen))
        await store.close()

    asyncio.run(keep())
    return url


@pytest.fixture
def taken() -> Iterator[int]:
    """A port at which something listens that is no server of ours."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_on_a_bare_machine_all_is_well_and_nothing_is_made(tmp_path: Path) -> None:
    done = doctor(cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "Next: tertulia serve"
    assert "local (the default)" in done.stdout
    assert "✗" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_what_was_chosen_is_told_with_where_it_was(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TERTULIA_LEASE_SECONDS=20\nTERTULIA_MODELL=x\nTERTULIA_PORT=9\n")

    ok, _, told = found(cwd=tmp_path, TERTULIA_MODEL="scripted:echo")

    texts = [finding.text for finding in told["settings"]]
    assert ok
    assert "TERTULIA_LEASE_SECONDS = 20.0, from .env" in texts
    assert "TERTULIA_MODEL = scripted:echo, from the environment" in texts
    assert "TERTULIA_PORT = 0, from the environment" in texts
    assert told["settings"][-1].advice == "rename it to TERTULIA_MODEL"


def test_a_setting_that_is_wrong_is_told(tmp_path: Path) -> None:
    ok, step, told = found(cwd=tmp_path, TERTULIA_PORT="many")

    assert not ok
    assert "TERTULIA_PORT" in told["settings"][0].text
    assert step


@pytest.mark.parametrize("flags", [(), ("--json",), ("--ask",)], ids=" ".join)
def test_no_secret_is_told(tmp_path: Path, flags: tuple[str, ...]) -> None:
    (tmp_path / "url").write_text("postgresql://me:secret1@127.0.0.1:1/db")
    env = {
        "TERTULIA_DATABASE_URL_FILE": str(tmp_path / "url"),
        "TERTULIA_HINTS_URL": "redis://me:secret2@127.0.0.1:1/0?password=secret3",
        "TERTULIA_MODEL": "openai-chat:gpt-5-mini",
        "OPENAI_API_KEY": "secret4",
        "OPENAI_BASE_URL": "http://me:secret5@127.0.0.1:1/secret6/v1?key=secret7",
        "ANTHROPIC_API_KEY": "secret8",
        "HF_TOKEN": "secret8",
        "TERTULIA_SECRETS": "secret9",
    }

    done = doctor(*flags, cwd=tmp_path, **env)

    assert done.returncode == 1
    assert "ANTHROPIC_API_KEY, HF_TOKEN, OPENAI_API_KEY" in done.stdout
    assert "secret" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////srv/kept.db?mode=x", "sqlite:////srv/kept.db"),
        ("postgresql://me:secret@db.example:5432/kept?sslmode=require", "postgresql://db.example:5432"),
        ("redis://:secret@[::1]/0", "redis://::1"),
        ("postgresql://me:sec/ret@db.example/kept", "postgresql:…"),
        ("postgresql://me:12/secret@db.example/kept", "postgresql:…"),
        ("postgresql://me:secret#x@db.example/kept", "postgresql:…"),
        ("postgresql:///kept?password=secret", "postgresql:…"),
        ("memory://", "memory://"),
        ("secret", "…"),
    ],
)
def test_of_a_url_is_told_what_anyone_may_see(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


def test_a_database_that_is_not_migrated_is_told_with_what_to_type(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    name = postgres.fresh(template="template0")

    ok, step, told = found(
        cwd=tmp_path, TERTULIA_DATABASE_URL=postgres.url(name), TERTULIA_MODEL="scripted:echo"
    )
    postgres.drop(name)

    assert (ok, step) == (False, "tertulia db upgrade")
    assert [finding.mark for finding in told["database"]] == ["broken"]


def test_a_database_that_is_migrated_is_ready(postgres_url: str, tmp_path: Path) -> None:
    ok, _, told = found(cwd=tmp_path, TERTULIA_DATABASE_URL=postgres_url, TERTULIA_MODEL="scripted:echo")

    assert ok
    assert "migration" in told["database"][0].text


def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "letters.db"
    file.write_bytes(b"Dear Zoe, " * 500)

    ok, _, told = found(cwd=tmp_path, TERTULIA_DATABASE_URL=f"sqlite:///{file}")

    assert not ok
    assert "letters.db" in told["database"][0].text
    assert file.read_bytes() == b"Dear Zoe, " * 500


def test_a_database_of_agents_is_not_changed(tmp_path: Path) -> None:
    url = an_agent(tmp_path, "Chef", model="scripted:echo")
    upgrade(url)
    before = (tmp_path / "kept.db").read_bytes()

    ok, _, told = found(cwd=tmp_path, TERTULIA_DATABASE_URL=url)

    assert ok
    assert "agents: 1" in told["database"][0].text
    assert (tmp_path / "kept.db").read_bytes() == before


def test_models_that_agents_name_are_looked_at_too(tmp_path: Path) -> None:
    url = an_agent(tmp_path, "Chef", model=("nobody:x", "scripted:echo", "scripted:text=Hi"), tools=("oven",))

    ok, _, told = found(cwd=tmp_path, TERTULIA_DATABASE_URL=url, TERTULIA_MODEL="scripted:echo")

    marks = {finding.text.partition(" ")[0]: finding.mark for finding in told["model"]}
    assert ok
    assert marks == {"scripted:echo": "good", "nobody:x": "warning", "scripted:text=Hi": "warning"}
    assert [finding.mark for finding in told["tools"]] == ["warning"]
    assert "Chef" in told["tools"][0].text


def test_a_default_that_cannot_be_asked_is_broken_unless_another_stands_behind_it(tmp_path: Path) -> None:
    env = {"TERTULIA_DATABASE_URL": "memory://"}

    alone = found(cwd=tmp_path, TERTULIA_MODEL="openai-chat:gpt-5-mini", **env)
    backed = found(cwd=tmp_path, TERTULIA_MODEL="openai-chat:gpt-5-mini, scripted:echo", **env)

    assert [(ok, [each.mark for each in told["model"]]) for ok, _, told in (alone, backed)] == [
        (False, ["broken"]),
        (True, ["warning", "good"]),
    ]
    assert "OPENAI_API_KEY" in alone[2]["model"][0].text


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("openai:gpt-5-mini", "OPENAI_API_KEY"),
        ("anthropic:claude-haiku-4-5", "ANTHROPIC_API_KEY"),
        ("scripted:echo, anthropic:claude-haiku-4-5", "ANTHROPIC_API_KEY"),
    ],
)
def test_the_key_that_the_default_wants_is_named(tmp_path: Path, model: str, variable: str) -> None:
    _, _, told = found(cwd=tmp_path, TERTULIA_MODEL=model, TERTULIA_DATABASE_URL="memory://")

    (finding,) = told["keys"]
    assert (finding.mark, finding.advice) == ("warning", f"set {variable}")
    assert finding.text == f"{model.rpartition(', ')[2]} wants one"


@pytest.mark.parametrize("model", ["local", "scripted:echo", "ollama:llama3.2"])
def test_a_default_that_wants_no_key_is_told_to_want_none(tmp_path: Path, model: str) -> None:
    _, _, told = found(cwd=tmp_path, TERTULIA_MODEL=model, TERTULIA_DATABASE_URL="memory://")

    whose = "the embedded model" if model == "local" else model
    assert [(each.mark, each.text) for each in told["keys"]] == [
        ("good", f"none of a provider: {whose} needs none")
    ]


def test_a_server_of_one_s_own_that_is_not_there_is_told_with_how_to_start_it(tmp_path: Path) -> None:
    env = {"TERTULIA_DATABASE_URL": "memory://", "OLLAMA_BASE_URL": "http://127.0.0.1:1/v1"}

    ok, step, told = found("--ask", cwd=tmp_path, TERTULIA_MODEL="ollama:llama3.2", **env)

    assert not ok
    assert "cannot be reached" in told["model"][0].text
    assert step == "start it with ollama serve, or set OLLAMA_BASE_URL"


async def test_a_key_that_is_refused_is_told_with_where_to_look(tmp_path: Path) -> None:
    async with FakeOpenAI() as fake:
        fake.fault("401", times=None)
        env = {"OPENAI_BASE_URL": fake.base_url, "OPENAI_API_KEY": "sk-old"}
        env |= {"TERTULIA_MODEL": "openai:gpt-5-mini", "TERTULIA_DATABASE_URL": "memory://"}

        ok, step, told = await asyncio.to_thread(found, "--ask", cwd=tmp_path, **env)

    assert not ok
    assert "401" in told["model"][0].text
    assert step == "see to OPENAI_API_KEY"


async def test_models_are_really_asked_if_wished(tmp_path: Path) -> None:
    async with FakeOpenAI() as fake:
        env = {"OPENAI_BASE_URL": fake.base_url, "TERTULIA_MODEL": "openai-chat:gpt-5-mini"}

        ok, _, told = await asyncio.to_thread(found, "--ask", cwd=tmp_path, **env)

        assert ok
        assert fake.calls == 1
        assert "answered in" in told["model"][0].text
        assert "for $0.00" in told["model"][0].text


def test_hints_that_nobody_carries_are_told(tmp_path: Path) -> None:
    env = {"TERTULIA_MODEL": "scripted:echo", "TERTULIA_DATABASE_URL": "memory://"}

    ok, _, told = found(cwd=tmp_path, TERTULIA_HINTS_URL="redis://127.0.0.1:1/0", **env)
    with ValkeyServer() as server:
        _, _, heard = found(cwd=tmp_path, TERTULIA_HINTS_URL=server.url, **env)

    assert ok
    assert [told["hints"][0].mark, heard["hints"][0].mark] == ["warning", "good"]


def test_tools_are_told_and_what_is_wrong_with_them(tmp_path: Path) -> None:
    (tmp_path / "our_tools.py").write_text(TOOLS)
    (tmp_path / "servers.json").write_text('{"mcpServers": {"gone": {"url": "http://127.0.0.1:1/mcp"}}}')
    env = {"TERTULIA_MODEL": "scripted:echo", "TERTULIA_DATABASE_URL": "memory://"}

    well = found(cwd=tmp_path, TERTULIA_TOOLS="our_tools", **env)
    absent = found(cwd=tmp_path, TERTULIA_TOOLS="their_tools", **env)
    gone = found(cwd=tmp_path, TERTULIA_MCP_FILE="servers.json", **env)

    assert [ok for ok, _, _ in (well, absent, gone)] == [True, False, False]
    assert [told["tools"][0].mark for _, _, told in (well, absent, gone)] == ["good", "broken", "broken"]
    assert "weather" in well[2]["tools"][0].text
    assert "gone" in gone[2]["tools"][0].text


def test_a_price_file_that_is_wrong_is_told(tmp_path: Path) -> None:
    (tmp_path / "prices.json").write_text('{"openai:gpt-5": {"input": "much"}}')
    env = {"TERTULIA_MODEL": "scripted:echo", "TERTULIA_DATABASE_URL": "memory://"}

    ok, _, told = found(cwd=tmp_path, TERTULIA_PRICES_FILE="prices.json", **env)

    assert not ok
    assert "openai:gpt-5" in told["prices"][0].text


async def test_a_server_that_answers_is_recognised(tmp_path: Path) -> None:
    env = {"TERTULIA_MODEL": "scripted:echo"}
    async with served(tmp_path, **env) as (_, client):
        port = str(client.base_url.port)

        ok, step, told = await asyncio.to_thread(found, cwd=tmp_path, TERTULIA_PORT=port, **env)

    assert ok
    assert told["server"][0].mark == "good"
    assert step == f"open http://127.0.0.1:{port}"


def test_another_program_at_the_port_is_told(tmp_path: Path, taken: int) -> None:
    env = {"TERTULIA_MODEL": "scripted:echo", "TERTULIA_DATABASE_URL": "memory://"}

    ok, _, told = found(cwd=tmp_path, TERTULIA_PORT=str(taken), **env)

    assert ok
    assert told["server"][0].mark == "warning"
    assert "TERTULIA_PORT" in told["server"][0].advice


def test_an_extra_is_there_if_all_that_it_needs_is() -> None:
    assert is_installed("tertulia", "testing")
    assert not is_installed("hypothesis", "django")
