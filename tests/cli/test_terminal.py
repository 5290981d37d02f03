"""What a person at a terminal sees of tools, decisions and ends."""

import io
from collections.abc import Iterator
from dataclasses import replace

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from rich.console import Console

from tertulia.agent_settings import ModelSettings
from tertulia.app import App
from tertulia.cli.hearing import Heard
from tertulia.cli.talk import COMPANION, Talk
from tertulia.cli.terminal import Terminal
from tertulia.events import ReasoningDelta, StepRestarted, TextDelta, ToolCalled, ToolFinished
from tertulia.ids import AGENT, new_id
from tertulia.parts import ToolCall
from tertulia.settings import Settings
from tertulia.testing.fake_openai import FakeOpenAI
from tests.cli.gardening import planted

CALL = ToolCall(id="c1", name="plant", arguments='{"what": "a rose"}')


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture
def fake(portal: BlockingPortal) -> Iterator[FakeOpenAI]:
    with portal.wrap_async_context_manager(FakeOpenAI()) as fake:
        yield fake


@pytest.fixture
def talk(portal: BlockingPortal, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> Iterator[Talk]:
    monkeypatch.setenv("OPENAI_BASE_URL", fake.base_url)
    planted.clear()

    async def opened() -> tuple[App, Talk]:
        settings = Settings(
            database_url="memory://",
            model="openai-chat:fake-1",
            shutdown_seconds=0,
            tools="tests.cli.gardening",
        )
        app = App(settings)
        await app.start()
        gardener = replace(COMPANION, tools=("plant",), settings=ModelSettings(max_turns=2))
        await app.store.agents.create(0, new_id(AGENT), gardener)
        return app, await Talk.resume(app, None)

    app, talk = portal.call(opened)
    yield talk
    portal.call(app.stop)


def at_the_terminal(portal: BlockingPortal, talk: Talk, monkeypatch: pytest.MonkeyPatch, *lines: str) -> str:
    """Return what is seen when these lines are typed."""
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    console = Console(file=io.StringIO(), width=100, height=40, highlight=False)
    Terminal(portal, talk, console).converse()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_use_of_a_tool_is_approved_at_the_terminal(
    portal: BlockingPortal, fake: FakeOpenAI, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.script([CALL, "There is a rose now."])

    seen = at_the_terminal(portal, talk, monkeypatch, "Plant a rose.", "what?", "approve")

    assert planted == ["a rose"]
    assert "wants to use plant" in seen
    assert seen.count("approve / deny") == 2
    assert "a rose is planted" in seen
    assert "There is a rose now." in seen


def test_what_was_left_undecided_is_decided_when_the_talk_goes_on(
    portal: BlockingPortal, fake: FakeOpenAI, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.script([CALL, "As you wish."])

    left = at_the_terminal(portal, talk, monkeypatch, "Plant a rose.")
    seen = at_the_terminal(portal, talk, monkeypatch, "deny")

    assert "Left alone" in left
    assert "wants to use plant" in seen
    assert planted == []


def test_end_of_a_conversation_is_told_and_it_can_be_gone_on_with(
    portal: BlockingPortal, fake: FakeOpenAI, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.script(["One.", "Two.", "Three."])

    seen = at_the_terminal(portal, talk, monkeypatch, "1", "2", "3", "/reopen", "4")

    assert "2 turns" in seen
    assert "/reopen goes on" in seen
    assert "Three." in seen
    assert [one.asked.text for one in portal.call(talk.history, 9)] == ["1", "2", "4"]


def test_what_was_said_before_a_tool_is_gone_when_the_answer_comes() -> None:
    heard = Heard()

    for event in (
        ReasoningDelta(text="Hm.", author="a"),
        TextDelta(text="Let me look.", author="a"),
        ToolCalled(turn=1, author="a", call_id="c", name="look", arguments="{}"),
        ToolFinished(turn=1, author="a", call_id="c", name="look", text="found"),
        TextDelta(text="Half an ans", author="a"),
        StepRestarted(path="turn/1/model/2"),
        TextDelta(text="It is there.", author="a"),
    ):
        heard.take(event)

    assert heard.text == "It is there."
    assert list(heard.tools.values()) == ["· look → found"]
