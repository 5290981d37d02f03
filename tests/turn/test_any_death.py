"""Wherever the process dies that carries a turn out, the next one ends it as if nothing had happened."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tertulia.agent_settings import ModelSettings
from tertulia.conversations import RunStatus
from tertulia.events import (
    Numbered,
    RunFinished,
    RunStarted,
    StepRestarted,
    TextDelta,
    ToolCalled,
    ToolFinished,
    TurnFinished,
    TurnStarted,
)
from tertulia.llms.base import Finished, Prompt
from tertulia.llms.scripted import ScriptedReply
from tertulia.parts import Part, Reasoning, ToolCall
from tertulia.tools.base import Tool, ToolContext
from tertulia.tools.functions import tool
from tests.turn.houses import Death, House, a_house, a_process
from tests.turn.kitchen import SHAPED

pytestmark = pytest.mark.usefixtures("quick")

JUDGED = replace(SHAPED, settings=ModelSettings(check_end=True))
NOT_OVER = {"is_over": False, "reason": "it goes on"}


class World:
    """What tools have done, by the keys of their uses."""

    def __init__(self) -> None:
        self.noted, self.sent = Counter[str](), Counter[str]()

    def tools(self) -> list[Tool]:
        @tool(is_idempotent=True)
        async def note(what: str, context: ToolContext) -> str:
            """Note something."""
            self.noted[context.key] += 1
            return f"noted {what}"

        @tool(on_unknown="retry")
        async def send(what: str, context: ToolContext) -> str:
            """Send something."""
            self.sent[context.key] += 1
            await asyncio.sleep(0)
            return f"sent {what}"

        return [note, send]


def a_call(ident: str, name: str) -> ToolCall:
    return ToolCall(id=ident, name=name, arguments=json.dumps({"what": ident}))


class Model:
    """Uses tools twice, says something without the shape, and mends it; then it judges."""

    def __init__(self) -> None:
        self.calls = Counter[str]()

    def __call__(self, prompt: Prompt) -> ScriptedReply:
        last = prompt.messages[-1]
        results = sum(shown.role == "tool" for shown in prompt.messages)
        name = "judge" if "is_over" in last.text else f"{last.role} {results}"
        self.calls[name] += 1
        match name:
            case "user 0":
                thought = (Reasoning(text="Hm.", opaque="sealed"),)
                calls = (a_call("a", "note"), a_call("b", "send"))
                return Finished(text="Let me see. ", model="m", calls=calls, reasoning=thought)
            case "tool 2":
                return [a_call("a", "send")]
            case "tool 3":
                return "three, I think"
            case "user 3":
                return {"n": 3}
            case _:
                return NOT_OVER


ASKED = ["user 0", "tool 2", "tool 3", "user 3", "judge"]
"""What the model is asked in such a turn, each once."""


async def test_turn_ends_as_if_nothing_had_happened_wherever_its_process_dies() -> None:
    alive = await _die(Death(10_000))
    points = alive.death.passed

    for passing in range(points.index("run.begin") + 1, points.index("end.after") + 1):
        lives = await _die(Death(passing))
        at = f"{lives.death.passed[passing - 1]} ({passing})"

        assert lives.death.has_come, at
        assert await _kept(lives.house) == await _kept(alive.house), at
        _check_calls(lives, at)
        _check_told(lives.told, alive.told, at)


class Lives:
    """What has become of a run, and of the processes that carried it out."""

    def __init__(self, death: Death) -> None:
        self.death, self.world = death, World()
        self.models = [Model(), Model()]
        self.house: House
        self.end: RunFinished
        self.told: list[Numbered] = []


async def _die(death: Death) -> Lives:
    """Have a run carried out by a process that dies, and then by another."""
    lives = Lives(death)
    lives.house = await a_house(JUDGED, lives.world.tools())
    async with a_process(lives.house, lives.models[0], probe=death) as first:
        ticket = await first.say("How many?")
        await first.gone()
        async with a_process(lives.house, lives.models[1]) as second:
            await second.go_on()
            lives.told = await second.told(ticket.run.id)
            lives.end = await second.end(ticket.run.id)
    assert lives.end.status is RunStatus.COMPLETED, lives.end.failure
    return lives


async def _kept(house: House) -> list[tuple[str, tuple[Part, ...], int]]:
    return [(each.role, each.content, int(each.flags)) for each in await house.messages()]


def _check_calls(lives: Lives, at: str) -> None:
    """Nothing was done again but what was under way."""
    asked = lives.models[0].calls + lives.models[1].calls
    assert sorted(asked) == sorted(ASKED), at
    assert sum(asked.values()) <= len(ASKED) + 1, at
    assert lives.end.usage.model_calls == len(ASKED), at
    assert lives.end.usage.wasted_calls >= sum(asked.values()) - len(ASKED), at
    assert lives.end.usage.wasted_calls <= 1, at
    assert lives.end.usage.tool_calls == 3, at
    assert (len(lives.world.noted), len(lives.world.sent)) == (1, 2), at
    assert sum(lives.world.noted.values()) + sum(lives.world.sent.values()) <= 3 + 2, at


def _check_told(told: Sequence[Numbered], alive: Sequence[Numbered], at: str) -> None:
    """Who takes what begins anew for what is told sees the same as if nothing had happened."""
    assert [each.seq for each in told] == sorted({each.seq for each in told}), at
    assert _seen(told) == _seen(alive), at


def _seen(told: Sequence[Numbered]) -> list[object]:
    """Return what the last owner has told from the beginning of the turn, without signs of restarts."""
    begun = max(at for at, each in enumerate(told) if isinstance(each.event, TurnStarted | RunStarted))
    seen: list[object] = []
    for each in told[begun + 1 :]:
        match each.event:
            case StepRestarted():
                while seen and isinstance(seen[-1], str):
                    seen.pop()
            case TextDelta(text=text):
                seen += text
            case ToolCalled(call_id=ident) | ToolFinished(call_id=ident):
                seen.append((each.event.kind, ident))
            case TurnFinished(message=message):
                seen.append(("kept", message.role, message.text))
    finished = [each for each in seen if isinstance(each, tuple) and each[0] == "tool.finished"]
    return [each for each in seen if each not in finished] + sorted(finished)
