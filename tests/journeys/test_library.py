"""Programs that share a session through a database, die, and go on where others have stopped."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

import tertulia
from tertulia.agent import Agent
from tertulia.llms.scripted import ScriptedLLM
from tertulia.messages import Message
from tests.journeys.library import SESSION
from tests.journeys.lives import Ledger

ROOT = Path(__file__).parents[2]


class Programs:
    """Processes that talk in one session, and what they have written down."""

    def __init__(self, url: str, place: Path) -> None:
        self.url, self._path = url, place / "ledger"

    async def run(self, *arguments: str, crash_at: str | None = None) -> int:
        """Run a program; return how it has ended."""
        dying = [] if crash_at is None else ["--crash-at", crash_at]
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.journeys.library", self.url, str(self._path), *arguments, *dying),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{Path(tertulia.__file__).parents[1]}:{ROOT}"},
        )
        async with asyncio.timeout(50):
            return await program.wait()

    def noted(self, what: str) -> list[str]:
        """Return what was written down after this word."""
        lines = (line.partition(" ") for line in Ledger(self._path).lines())
        return [rest for first, _, rest in lines if first == what]

    async def messages(self) -> list[Message]:
        async with Agent(ScriptedLLM([]), name="Looking on", store=self.url) as agent:
            runtime = await agent._host.runtime()
            row = await runtime.store.conversations.get(0, SESSION)
            return await runtime.store.conversations.messages(0, row.id, limit=1000)


@pytest.fixture
def programs(database_url: str, tmp_path: Path) -> Programs:
    return Programs(database_url, tmp_path)


async def test_two_programs_on_one_session_exclude_each_other(programs: Programs) -> None:
    said = {who: [f"{who}{n}" for n in range(8)] for who in "ab"}

    codes = await asyncio.gather(*(programs.run("say", *texts) for texts in said.values()))

    messages = await programs.messages()
    asked, answered = messages[::2], messages[1::2]
    assert codes == [0, 0]
    assert [message.number for message in messages] == list(range(1, 33))
    for who, texts in said.items():
        assert [message.text for message in asked if message.text.startswith(who)] == texts
    # Each was shown everything before it, and nothing of what came at the same time.
    assert [each.text for each in answered] == [
        f"{each.text} after {2 * place}" for place, each in enumerate(asked)
    ]
    assert programs.noted("model") == [message.text for message in asked]
    assert sorted(programs.noted("heard")) == sorted(message.text for message in answered)


async def test_program_killed_before_providers_are_told_leaves_that_to_the_next(programs: Programs) -> None:
    code = await programs.run("say", "one", crash_at="commit.after")
    before = (programs.noted("model"), programs.noted("after"), [m.text for m in await programs.messages()])

    await programs.run("say", "two")

    assert code == -signal.SIGKILL
    assert before == (["one"], [], ["one", "one after 0"])
    assert programs.noted("after") == ["one: one after 0", "two: two after 2"]
    assert programs.noted("model") == ["one", "two"]
    assert [m.text for m in await programs.messages()] == ["one", "one after 0", "two", "two after 2"]


@pytest.mark.parametrize(
    "point", ["accept.after", "run.begin", "step.speaking", "commit.before", "end.before"]
)
async def test_program_may_be_killed_and_its_message_is_answered_by_the_next(
    programs: Programs, point: str
) -> None:
    code = await programs.run("say", "one", crash_at=point)

    await programs.run("say", "two")

    assert code == -signal.SIGKILL
    assert [m.text for m in await programs.messages()] == ["one", "one after 0", "two", "two after 2"]
    assert set(programs.noted("after")) == {"one: one after 0", "two: two after 2"}
    assert len(programs.noted("model")) <= 3


async def test_decision_may_come_in_another_process(programs: Programs) -> None:
    await programs.run("pay")
    [run_id] = programs.noted("waits")
    before = programs.noted("paid")

    code = await programs.run("decide", run_id)

    assert (code, before, programs.noted("paid")) == (0, [], [""])
    assert programs.noted("heard") == ["Done: paid"]
    assert programs.noted("after") == ["pay: Done: paid"]
    assert programs.noted("before") == ["pay"]
    assert [m.role for m in await programs.messages()] == ["user", "assistant", "tool", "assistant"]
