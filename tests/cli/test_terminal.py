"""What a person at a terminal sees of tools, decisions and ends."""

import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from anyio.lowlevel import checkpoint
from rich.console import Console
from typing_extensions import override

from tertulia.agent.stored import PERFORMER
from tertulia.agent_settings import ModelSettings
from tertulia.app import App
from tertulia.cli.chat import pipe
from tertulia.cli.hearing import Heard
from tertulia.cli.talk import COMPANION, Talk
from tertulia.cli.terminal import Terminal
from tertulia.conversations import Claim, Commit
from tertulia.errors import NeedsAttention
from tertulia.events import ReasoningDelta, StepRestarted, TextDelta, ToolCalled, ToolFinished
from tertulia.ids import AGENT, new_id
from tertulia.parts import ToolCall
from tertulia.settings import Settings
from tertulia.testing.builders import a_claimed_run, a_conversation, a_submission, a_wait, a_waiting_run
from tertulia.testing.fake_openai import FakeOpenAI
from tests.cli.gardening import planted

CALL = ToolCall(id="c1", name="plant", arguments='{"what": "a rose"}')


class Typist(io.TextIOBase):
    """Types these lines; what is no text is done before the next one is typed."""

    def __init__(self, *lines: str | Callable[[], None]) -> None:
        self._lines = iter(lines)

    @override
    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]  # All of a line at once.
        for line in self._lines:
            if isinstance(line, str):
                return f"{line}\n"
            line()
        return ""


def leave() -> None:
    """Press Ctrl-C."""
    raise KeyboardInterrupt


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture
def fake(portal: BlockingPortal) -> Iterator[FakeOpenAI]:
    with portal.wrap_async_context_manager(FakeOpenAI()) as fake:
        yield fake


@pytest.fixture
def app(portal: BlockingPortal, fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    monkeypatch.setenv("OPENAI_BASE_URL", fake.base_url)
    planted.clear()

    async def opened() -> App:
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
        return app

    app = portal.call(opened)
    yield app
    portal.call(app.stop)


@pytest.fixture
def talk(portal: BlockingPortal, app: App) -> Talk:
    return portal.call(Talk.resume, app, None)


def at_the_terminal(
    portal: BlockingPortal, talk: Talk, monkeypatch: pytest.MonkeyPatch, *lines: str | Callable[[], None]
) -> str:
    """Return what is seen when these lines are typed."""
    monkeypatch.setattr("sys.stdin", Typist(*lines))
    console = Console(file=io.StringIO(), width=100, height=40, highlight=False)
    Terminal(portal, talk, console, look_seconds=0.01).converse()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("word", ["approve", "a", "y", "YES"])
def test_use_of_a_tool_is_approved_at_the_terminal(
    portal: BlockingPortal, fake: FakeOpenAI, talk: Talk, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    fake.script([CALL, "There is a rose now."])

    seen = at_the_terminal(portal, talk, monkeypatch, "Plant a rose.", "what?", word)

    assert planted == ["a rose"]
    assert "wants to use plant" in seen
    assert seen.count("approve / deny") == 2
    assert "approve (or yes), deny (or no)" in seen
    assert "a rose is planted" in seen
    assert "There is a rose now." in seen


@pytest.mark.parametrize("word", ["deny", "n", "no"])
def test_use_of_a_tool_is_denied_at_the_terminal(
    portal: BlockingPortal, fake: FakeOpenAI, talk: Talk, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    fake.script([CALL, "As you wish."])

    seen = at_the_terminal(portal, talk, monkeypatch, "Plant a rose.", word)

    assert planted == []
    assert "As you wish." in seen


def test_who_approves_sees_all_that_a_tool_is_given(
    portal: BlockingPortal, fake: FakeOpenAI, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = json.dumps({"what": "rose " * 400 + "and a nettle"})
    fake.script([replace(CALL, arguments=arguments), "As you wish."])

    seen = at_the_terminal(portal, talk, monkeypatch, "Plant something.", "no")

    assert arguments.replace(" ", "") in re.sub(r"\s", "", seen.partition("approve / deny")[0])


def test_what_was_left_undecided_is_decided_when_the_talk_goes_on(
    portal: BlockingPortal, fake: FakeOpenAI, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.script([CALL, "As you wish."])

    left = at_the_terminal(portal, talk, monkeypatch, "Plant a rose.")
    seen = at_the_terminal(portal, talk, monkeypatch, "deny")

    assert "Left open" in left
    assert "/decide" in left
    assert "will be finished" not in left
    assert seen.count("wants to use plant") == 1
    assert "As you wish." in seen
    assert planted == []


def test_what_waits_is_decided_before_anything_else_is_said(
    portal: BlockingPortal, fake: FakeOpenAI, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.script([CALL, "As you wish.", "Two."])

    seen = at_the_terminal(portal, talk, monkeypatch, "1", leave, "unsent", leave, "2", "no")

    assert seen.count("Your message was not sent.") == 1
    assert [(one.asked.text, one.answer) for one in portal.call(talk.history, 9)] == [
        ("1", "As you wish."),
        ("2", "Two."),
    ]
    assert seen.index("As you wish.") < seen.index("Two.")


def test_what_begins_to_wait_in_front_of_a_message_is_decided_too(
    portal: BlockingPortal, fake: FakeOpenAI, app: App, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.script(["One.", "Two."])
    ahead = portal.call(something_under_way, app, talk)
    portal.start_task_soon(wait_behind_it, app, ahead)

    seen = at_the_terminal(portal, talk, monkeypatch, "2", "yes")

    assert "May the mail be sent?" in seen
    assert [one.answer for one in portal.call(talk.history, 9)] == ["One.", "Two."]


def test_what_came_of_a_step_is_asked_for_where_it_is_wanted(
    portal: BlockingPortal, fake: FakeOpenAI, app: App, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.script(["One."])
    ahead = portal.call(something_under_way, app, talk)
    doubt = Commit(wait=replace(a_wait(), kind="unknown_outcome"))
    portal.call(app.store.runs.commit, ahead.lease, doubt, None)

    seen = at_the_terminal(portal, talk, monkeypatch, "done", "It was sent.")

    assert "retry / done / fail" in seen
    assert seen.index("What came of it?") < seen.index("One.")


def test_what_somebody_else_has_decided_is_not_decided_again(
    portal: BlockingPortal, fake: FakeOpenAI, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.script([CALL, "As you wish.", "Two."])

    def deny() -> None:
        waiting = portal.call(talk.waiting)
        assert waiting is not None
        portal.call(talk.decide, waiting, "deny")

    seen = at_the_terminal(portal, talk, monkeypatch, "1", deny, "yes", "2")

    assert planted == []
    assert "does not wait for this decision" in seen
    assert seen.index("As you wish.") < seen.index("Two.")


def test_only_what_waits_in_the_same_conversation_is_asked_for(
    portal: BlockingPortal, fake: FakeOpenAI, app: App, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.script([CALL])

    async def wait_elsewhere() -> None:
        for _ in range(101):
            elsewhere = await a_conversation(app.store, talk.agent)
            await a_waiting_run(app.store, a_submission(elsewhere))

    portal.call(wait_elsewhere)
    before = portal.call(talk.waiting)
    at_the_terminal(portal, talk, monkeypatch, "Plant a rose.")
    waiting = portal.call(talk.waiting)

    assert before is None
    assert waiting is not None
    assert waiting.wait.message.startswith("Companion wants to use plant")


def test_where_somebody_left_off_is_shown_however_many_tools_were_used(
    portal: BlockingPortal, fake: FakeOpenAI, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.script([CALL, replace(CALL, id="c2"), replace(CALL, id="c3"), "There are roses now."])

    at_the_terminal(portal, talk, monkeypatch, "Plant roses.", "y", "y", "y")
    seen = at_the_terminal(portal, talk, monkeypatch)

    assert len(planted) == 3
    assert "Plant roses." in seen
    assert "There are roses now." in seen


def test_end_of_a_conversation_is_told_and_it_can_be_gone_on_with(
    portal: BlockingPortal, fake: FakeOpenAI, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.script(["One.", "Two.", "Three."])

    seen = at_the_terminal(portal, talk, monkeypatch, "/reopen", "1", "2", "3", "/reopen", "4")

    assert "It has not begun yet." in seen
    assert "2 turns" in seen
    assert " ".join(seen.split()).count("/reopen opens it again, /new begins another one.") == 2
    assert "Three." in seen
    assert [one.asked.text for one in portal.call(talk.history, 9)] == ["1", "2", "4"]


def test_a_pipe_says_how_to_decide_what_waits(portal: BlockingPortal, fake: FakeOpenAI, talk: Talk) -> None:
    fake.script([CALL, "There is a rose now.", "Two."])
    out = io.StringIO()

    with pytest.raises(NeedsAttention) as first:
        pipe(portal, talk, io.StringIO("1\n2\n"), out)
    with pytest.raises(NeedsAttention) as second:
        pipe(portal, talk, io.StringIO("2\n"), out)
    told = str(first.value)
    waiting = portal.call(talk.waiting)
    assert waiting is not None
    portal.call(talk.decide, waiting, "approve")
    pipe(portal, talk, io.StringIO("2\n"), out)

    assert str(second.value) == told
    assert CALL.arguments in told
    assert f"curl -sS '{talk.address}/v1/runs?status=waiting'" in told
    assert f"{talk.address}/v1/runs/{waiting.run_id}/decide" in told
    assert json.loads(told.split("'")[-2]) == {"verdict": "approve", "path": waiting.wait.path}
    assert out.getvalue() == "Two.\n"
    assert [one.asked.text for one in portal.call(talk.history, 9)] == ["1", "2"]


def test_a_pipe_does_not_stand_in_line_behind_what_waits(
    portal: BlockingPortal, app: App, talk: Talk
) -> None:
    ahead = portal.call(something_under_way, app, talk)
    portal.start_task_soon(wait_behind_it, app, ahead)

    with pytest.raises(NeedsAttention, match="May the mail be sent"):
        pipe(portal, talk, io.StringIO("2\n"), io.StringIO())


async def something_under_way(app: App, talk: Talk) -> Claim:
    """Have somebody else begin to answer a message in a new conversation."""
    conversation = await a_conversation(app.store, talk.agent)
    talk.conversation = conversation.id
    return await a_claimed_run(app.store, a_submission(conversation, "1", performer=PERFORMER))


async def wait_behind_it(app: App, ahead: Claim) -> None:
    """Once a message stands in line behind it, have a run wait for a decision."""
    while not await app.store.conversations.pending(0, ahead.conversation.id):
        await checkpoint()
    await app.store.runs.commit(ahead.lease, Commit(wait=a_wait()), None)


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
