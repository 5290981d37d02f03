"""``python -m tests.journeys.tools URL FILE [POINT:PASSING …]``: lives of a program whose agent uses tools.

Each life takes in one more message, decides about what waits, and carries out what can be. The agent's
model asks for three tools at once, and answers when it has been shown their results; everything that
is done, and everything that the journal held when a life began, is told on a line of a file.
"""

import argparse
import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Final

from typing_extensions import override

from tertulia.agent.stored import PERFORMER, AgentPerformer
from tertulia.conversations import DEFAULT_TENANT, Run
from tertulia.engine import Decision, Engine, Probe
from tertulia.llms.base import LLM, Prompt
from tertulia.llms.models import Models
from tertulia.llms.scripted import ScriptedLLM, ScriptedReply
from tertulia.parts import ToolCall
from tertulia.stores import Store, open_store
from tertulia.testing.builders import a_submission
from tertulia.testing.reading import read_history
from tertulia.tools.base import Tool, ToolContext
from tertulia.tools.functions import tool
from tertulia.tools.toolbox import Toolbox
from tests.journeys.lives import POLL_SECONDS, Ledger, can_go_on, is_done, live_all

TOOLS: Final = ("note", "send", "pay", "ring")
"""What they do may be done again under its key, is done again, is asked about, fails the run."""
_LEASE_SECONDS: Final = 0.25
_SENDING_SECONDS: Final = 0.1


def asked_for(text: str) -> tuple[str, ...]:
    """Return the tools that the model asks for when it is told this."""
    return ("note", "send", "ring" if text.endswith("ring") else "pay")


def tools(ledger: Ledger) -> list[Tool]:
    """Tools whose effects are lines in a file."""

    @tool(is_idempotent=True)
    def note(what: str, context: ToolContext) -> str:
        """Note something, unless that was done under this key."""
        if f"effect note {what} {context.key}" not in ledger.lines():
            ledger.note(f"effect note {what} {context.key}")
        return "noted"

    @tool(on_unknown="retry")
    async def send(what: str, context: ToolContext) -> str:
        """Send something, for longer than events are gathered before they are stored."""
        await asyncio.sleep(_SENDING_SECONDS)
        ledger.note(f"effect send {what} {context.key}")
        return "sent"

    @tool
    def pay(what: str, context: ToolContext) -> str:
        """Pay for something."""
        ledger.note(f"effect pay {what} {context.key}")
        return "paid"

    @tool(on_unknown="fail")
    def ring(what: str, context: ToolContext) -> str:
        """Ring for something."""
        ledger.note(f"effect ring {what} {context.key}")
        return "rung"

    return [note, send, pay, ring]


class _One(Models):
    def __init__(self, llm: LLM) -> None:
        super().__init__("scripted:echo")
        self._llm = llm

    @override
    def get(self, names: object) -> LLM:
        return self._llm


def _model(ledger: Ledger) -> LLM:
    def reply(prompt: Prompt) -> ScriptedReply:
        said = [shown for shown in prompt.messages if shown.role == "user"][-1].text
        if prompt.messages[-1].role == "tool":
            ledger.note(f"model 2 {said}")
            return f"All done: {said}"
        ledger.note(f"model 1 {said}")
        arguments = json.dumps({"what": said})
        return [ToolCall(id=name, name=name, arguments=arguments) for name in asked_for(said)]

    return ScriptedLLM(reply)


async def _live(url: str, ledger: Ledger, conversations: list[str], probe: Probe) -> None:
    store = open_store(url)
    await store.open()
    await _note_journals(store, ledger, url)
    performer = AgentPerformer(
        store, _One(_model(ledger)), context_tokens=4000, toolbox=Toolbox(tools(ledger))
    )
    engine = Engine(
        store,
        performers={PERFORMER: performer},
        lease_seconds=_LEASE_SECONDS,
        poll_seconds=POLL_SECONDS,
        probe=probe,
    )
    await engine.start()
    for run in await store.runs.waiting(DEFAULT_TENANT):
        await _decide(engine, ledger, run)
    if conversations:
        await _say(engine, ledger, conversations)
    await _rest(engine, url)
    await engine.stop()
    await store.close()


async def _rest(engine: Engine, url: str) -> None:
    """Wait until no run can go on."""
    while True:
        if not engine.active and not can_go_on(await read_history(url)):
            return
        await asyncio.sleep(POLL_SECONDS)


async def _say(engine: Engine, ledger: Ledger, conversations: list[str]) -> None:
    """Say something in the next conversation in which nothing was said yet."""
    said = _said(ledger)
    if said < len(conversations):
        text = f"U{said} {'ring' if said % 4 == 3 else 'pay'}"
        ledger.note(f"said {text}")
        submission = a_submission(conversations[said], text, performer=PERFORMER)
        await engine.submit(replace(submission, options={"deltas": True}))


def _said(ledger: Ledger) -> int:
    return sum(line.startswith("said ") for line in ledger.lines())


async def _note_journals(store: Store, ledger: Ledger, url: str) -> None:
    """Tell which calls of the model need not be made any more."""
    history = await read_history(url)
    texts = {message.id: message.text for message in history.messages}
    for run in history.runs:
        for step in await store.runs.steps(DEFAULT_TENANT, f"run_{run.id}"):
            if step.kind == "model" and step.ended_at:
                ledger.note(f"journaled {step.path.rpartition('/')[2]} {texts[run.input_message_id]}")


async def _decide(engine: Engine, ledger: Ledger, run: Run) -> None:
    """Look whether it was done, as a person would, and have it done if not."""
    assert run.wait is not None
    is_done = any(line.endswith(f"{run.id}:{run.wait.path}") for line in ledger.lines())
    decision = Decision(verdict="done", value="paid") if is_done else Decision(verdict="retry")
    ledger.note(f"decided {decision.verdict}")
    await engine.decide(run.tenant, run.id, decision)


def main() -> None:
    """Carry out what there is, whatever it takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("ledger", type=Path)
    parser.add_argument("conversations", help="ids, with commas between them")
    parser.add_argument("deaths", nargs="*", metavar="POINT:PASSING")
    given = parser.parse_args()
    ledger, conversations = Ledger(given.ledger), given.conversations.split(",")

    def is_over() -> bool:
        return _said(ledger) == len(conversations) and is_done(given.url)

    live_all(lambda probe: _live(given.url, ledger, conversations, probe), given.deaths, is_over=is_over)


if __name__ == "__main__":
    main()
