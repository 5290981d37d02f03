"""The older framework's samples, with nothing changed but import lines and addresses."""

import json
import re
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tertulia.compat import agent_framework
from tertulia.compat.agent_framework import ChatAgent
from tertulia.testing.fake_openai import FakeOpenAI
from tests.compat.page import IN_A_FILE, IN_MEMORY, PAGE, carry_out, samples
from tests.memory.context import fake_mem0

STATE = Path("thread_state.json")


async def tell_the_name(agent: ChatAgent) -> None:
    """Have a conversation, and leave it in a file."""
    thread = agent.get_new_thread()
    await agent.run("Hello, my name is Alice", thread=thread)
    save(await thread.serialize())
    await agent.close()


def save(told: dict[str, Any]) -> None:
    STATE.write_text(json.dumps(told), encoding="utf-8")


def saved() -> str:
    return STATE.read_text(encoding="utf-8")


async def ask_for_the_name(agent: ChatAgent) -> str:
    """Go on with the conversation in the file."""
    thread = await agent.deserialize_thread(json.loads(saved()))
    response = await agent.run("What's my name?", thread=thread)
    await agent.close()
    return response.text


@pytest.fixture
async def mem0(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[fake_mem0.FakeMem0]:
    async with fake_mem0.running() as fake:
        monkeypatch.setenv("MEM0_BASE_URL", fake.base_url)
        yield fake


async def test_thread_keeps_what_was_said_in_memory(model: FakeOpenAI, folder: Path) -> None:
    program = await carry_out(IN_MEMORY)

    answer = await program["agent"].run("What's my name?", thread=program["thread"])

    assert str(program["response"]) == "Noted: Hello, my name is Alice"
    assert answer.text == "Your name is Alice."
    await program["agent"].close()


async def test_thread_goes_through_a_file(
    model: FakeOpenAI, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = await carry_out(IN_A_FILE)

    assert capsys.readouterr().out == "Your name is Alice.\n"
    await program["agent"].close()


@pytest.mark.parametrize(
    "heading", [IN_MEMORY, IN_A_FILE, "Message stores", "A store of your own", "Context providers"]
)
async def test_program_goes_on_after_it_was_started_again(
    heading: str, model: FakeOpenAI, folder: Path
) -> None:
    await tell_the_name((await carry_out(heading))["agent"])

    answer = await ask_for_the_name((await carry_out(heading))["agent"])

    assert answer == "Your name is Alice."


async def test_thread_in_redis_goes_on_after_a_start(model: FakeOpenAI, folder: Path, redis_url: str) -> None:
    here = {"redis://localhost:6379": redis_url}
    await tell_the_name((await carry_out("Redis", here))["agent"])

    answer = await ask_for_the_name((await carry_out("Redis", here))["agent"])

    assert answer == "Your name is Alice."
    assert "Alice" not in saved()


async def test_mem0_knows_in_a_new_thread_what_it_was_told_in_another(
    model: FakeOpenAI, folder: Path, mem0: fake_mem0.FakeMem0
) -> None:
    here = {"your-mem0-api-key": fake_mem0.KEY}
    await tell_the_name((await carry_out("Mem0", here))["agent"])
    program = await carry_out("Mem0", here)

    response = await program["agent"].run("What's my name?", thread=program["agent"].get_new_thread())

    assert response.text == "Your name is Alice."
    assert {"user_id": "user_123", "app_id": "my_app"}.items() <= mem0.adds[0].items()
    await program["agent"].close()


async def test_preferences_of_one_thread_are_shown_in_no_other(model: FakeOpenAI, folder: Path) -> None:
    program = await carry_out("Context providers")
    agent: ChatAgent = program["agent"]
    mine, others = agent.get_new_thread(), agent.get_new_thread()
    await agent.run("Answer in short, please.", thread=mine)

    await agent.run("Hello", thread=others)
    restored = await agent.deserialize_thread(json.loads(json.dumps(await mine.serialize())))
    await agent.run("Hello again", thread=restored)

    shown = [str(request["messages"]) for request in model.requests]
    assert ["User preferences: length: short answers" in each for each in shown] == [False, False, True]
    await agent.close()


def test_every_sample_is_carried_out() -> None:
    here = Path(__file__).read_text(encoding="utf-8")

    assert all(f'"{heading}"' in here or heading in (IN_MEMORY, IN_A_FILE) for heading in samples())


def test_every_name_stands_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")

    named = set(re.findall(r"\w+", page))

    assert set(agent_framework.__all__) - named <= {"ChatClient"}


async def test_samples_warn_of_nothing(model: FakeOpenAI, folder: Path) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        programs: list[dict[str, Any]] = [await carry_out(each) for each in (IN_MEMORY, IN_A_FILE)]

    assert not told
    for program in programs:
        await program["agent"].close()
