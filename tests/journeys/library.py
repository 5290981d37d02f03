"""``python -m tests.journeys.library URL FILE COMMAND …``: a program that talks with its agent in a session.

``say TEXT …`` says these texts one after another, ``pay`` asks for something that has to be approved,
``decide RUN`` approves it. With ``--crash-at POINT`` the process is killed there. What the model, the
provider and the tool do is told on lines of a file.
"""

import argparse
import asyncio
import os
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from typing_extensions import override

from tertulia.agent import Agent
from tertulia.engine import POINTS, Probe, unobserved
from tertulia.errors import NeedsAttention
from tertulia.llms.base import Prompt
from tertulia.llms.scripted import ScriptedLLM, ScriptedReply
from tertulia.memory.context.base import ContextProvider, RunContext
from tertulia.memory.sessions import Outcome, ProviderRun
from tertulia.parts import ToolCall
from tertulia.runtime import Runtime
from tertulia.testing.crashing import CrashPoint
from tertulia.tools.base import Tool
from tertulia.tools.functions import tool
from tests.journeys.lives import Ledger

SESSION: Final = "shared"
_LEASE_SECONDS: Final = 0.5
_CALL_SECONDS: Final = 0.01


class Noting(ContextProvider):
    """Writes down what it is asked and told."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @override
    async def before_run(self, run: ProviderRun) -> RunContext | None:
        self._ledger.note(f"before {run.input.text}")
        return RunContext(messages=[f"Asked by {os.getpid()}."])

    @override
    async def after_run(self, run: ProviderRun, outcome: Outcome) -> None:
        said = outcome.response[-1].text if outcome.response else "nothing"
        self._ledger.note(f"after {run.input.text}: {said}")


class Told(ScriptedLLM):
    """Writes down when it begins and ends to answer."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(self._answer, delay=_CALL_SECONDS)
        self._ledger = ledger

    def _answer(self, prompt: Prompt) -> ScriptedReply:
        said = [shown for shown in prompt.messages if shown.role == "user"][-1].text
        self._ledger.note(f"model {said}")
        if prompt.messages[-1].role == "tool":
            return f"Done: {prompt.messages[-1].text}"
        if said == "pay":
            return ToolCall(id="c", name="pay", arguments="{}")
        return f"{said} after {len(prompt.messages) - 2}"


def _tools(ledger: Ledger) -> list[Tool]:
    @tool(needs_approval=True)
    def pay() -> str:
        """Pay."""
        ledger.note("paid")
        return "paid"

    return [pay]


def _agent(url: str, ledger: Ledger) -> Agent:
    return Agent(
        Told(ledger), name="Host", store=url, tools=_tools(ledger), context_providers=[Noting(ledger)]
    )


async def _live(url: str, ledger: Ledger, command: str, told: Sequence[str]) -> None:
    async with _agent(url, ledger) as agent:
        session = agent.create_session(SESSION, user="ann")
        match command:
            case "say":
                for text in told:
                    reply = await agent.run(text, session=session)
                    ledger.note(f"heard {reply.text}")
            case "pay":
                try:
                    await agent.run("pay", session=session)
                except NeedsAttention as error:
                    ledger.note(f"waits {error.run_id}")
            case "decide":
                reply = await agent.decide(told[0], "approve")
                ledger.note(f"heard {reply.text}")


def _killed_at(point: str | None) -> Probe:
    if point is None:
        return unobserved
    return CrashPoint(point, die=lambda _code: os.kill(os.getpid(), signal.SIGKILL))


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("ledger", type=Path)
    parser.add_argument("command", choices=("say", "pay", "decide"))
    parser.add_argument("told", nargs="*")
    parser.add_argument("--crash-at", choices=POINTS)
    given = parser.parse_args()
    with pytest.MonkeyPatch.context() as patched:
        runtime = partial(Runtime, lease_seconds=_LEASE_SECONDS, probe=_killed_at(given.crash_at))
        patched.setattr("tertulia.agent.hosting.Runtime", runtime)
        asyncio.run(_live(given.url, Ledger(given.ledger), given.command, given.told))


if __name__ == "__main__":
    main()
