"""Answers that have the response shape and are wrong nevertheless: the model is asked to mend them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import orjson
import pytest
from typing_extensions import override

from tertulia.agent.stored import AgentPerformer
from tertulia.definitions import StoredAgent
from tertulia.errors import ShapeMismatch
from tertulia.events import StepRestarted, TextDelta
from tertulia.llms.base import Prompt
from tertulia.llms.scripted import Script, ScriptedLLM
from tertulia.memory.history.service import LinkedHistory
from tertulia.memory.states import States
from tertulia.parts import ToolCall
from tertulia.tools.base import Tool
from tertulia.tools.functions import tool
from tertulia.tools.toolbox import Toolbox
from tertulia.turn import Speaker
from tertulia.turn.speaker import Beside
from tests.agent.company import shown
from tests.engine.kit import Rounds, an_engine
from tests.turn.houses import Death, Died, House, Process, _tell_nobody_of_deaths, a_house, nothing_passed
from tests.turn.kitchen import DEFINITION, SHAPED, OneModel
from tests.turn.programs import moments

pytestmark = pytest.mark.usefixtures("quick")


@tool(is_idempotent=True)
def look() -> str:
    """Look."""
    return "seen"


@dataclass
class OnlyEven:
    """Refuses numbers that are odd, and takes down what it was asked."""

    asked: list[str] = field(default_factory=list)

    def __call__(self, text: str) -> None:
        self.asked.append(text)
        if orjson.loads(text)["n"] % 2:
            raise ShapeMismatch("n: it is odd. Mend that.")


class Checking(AgentPerformer):
    """Carries out the runs of stored agents whose answers are checked."""

    check: OnlyEven
    service: LinkedHistory | None = None

    @override
    def _speaker(
        self, agent: StoredAgent, options: Mapping[str, object], tools: Mapping[str, Tool]
    ) -> Speaker:
        speaker = super()._speaker(agent, options, tools)
        # With somebody beside it, a run goes on for a while after its answer was kept.
        beside = Beside(states=States(self._store.states), log=self._store.conversations)
        return replace(speaker, check=self.check, service=self.service, beside=beside)


@asynccontextmanager
async def a_process(
    house: House,
    model: Script | ScriptedLLM,
    check: OnlyEven,
    *,
    service: LinkedHistory | None = None,
    probe: Callable[[str], None] = nothing_passed,
) -> AsyncIterator[Process]:
    """A process that checks the answers of the house's agent."""
    llm = model if isinstance(model, ScriptedLLM) else ScriptedLLM(model, chunk=4)
    performer = Checking(house.store, OneModel(llm), context_tokens=16_000, toolbox=Toolbox(house.tools))
    performer.check, performer.service = check, service
    rounds = Rounds()
    asyncio.get_running_loop().set_exception_handler(_tell_nobody_of_deaths)
    with suppress(Died):  # one that is gone takes no leave
        async with an_engine(house.store, performer, rounds, probe=probe) as engine:
            yield Process(house, engine, llm, rounds)


async def test_wrong_answer_is_asked_for_again_with_what_is_wrong_about_it() -> None:
    house, check = await a_house(SHAPED), OnlyEven()
    async with a_process(house, ['{"n":1}', '{"n":2}'], check) as process:
        ticket = await process.say("A number.")
        events = [each.event for each in await process.told(ticket.run.id)]

    assert shown(process.llm.prompts[1])[-2:] == ['{"n":1}', "n: it is odd. Mend that."]
    assert await house.texts() == ["A number.", '{"n":2}']
    assert check.asked == ['{"n":1}', '{"n":2}']
    restart = next(place for place, event in enumerate(events) if isinstance(event, StepRestarted))
    heard = "".join(event.text for event in events[restart:] if isinstance(event, TextDelta))
    assert heard == '{"n":2}'


async def test_answer_that_stays_wrong_fails_the_run_after_two_repairs() -> None:
    house, check = await a_house(SHAPED), OnlyEven()
    async with a_process(house, ['{"n":1}', "no number", '{"n":3}'], check) as process:
        with pytest.raises(ShapeMismatch, match="it is odd"):
            await process.ask("A number.")

    assert await house.texts() == ["A number."]
    assert len(process.llm.prompts) == 3
    assert check.asked == ['{"n":1}', '{"n":3}']


async def test_only_what_has_the_shape_is_checked() -> None:
    house, check = await a_house(SHAPED, [look]), OnlyEven()
    script: Script = [
        ToolCall(id="c", name="look", arguments="{}"),
        "no number",
        '{"n":"two"}',
        'Here: {"n":2}',
    ]
    async with a_process(house, script, check) as process:
        finished = await process.ask("A number.")

    assert finished.messages[-1].text == '{"n":2}'
    assert check.asked == ['{"n":2}']


async def test_plain_answers_are_not_checked() -> None:
    house, check = await a_house(DEFINITION), OnlyEven()
    async with a_process(house, ["Hello."], check) as process:
        await process.ask("Hi.")

    assert check.asked == []
    assert (await house.texts())[-1] == "Hello."


async def test_process_may_die_anywhere_and_no_answer_that_was_kept_is_asked_for_again() -> None:
    alive = await _lives(Death(10_000))
    for passing in moments(alive):
        death = await _lives(Death(passing))

        assert death.has_come, alive.passed[passing - 1]


async def _lives(death: Death) -> Death:
    """Have a wrong answer mended by a process that may die, and by another."""

    def reply(prompt: Prompt) -> str:
        return '{"n":2}' if "odd" in prompt.messages[-1].text else '{"n":1}'

    house, check, llm = await a_house(SHAPED), OnlyEven(), ScriptedLLM(reply, chunk=4)
    async with a_process(house, llm, check, probe=death) as first:
        ticket = await first.say("A number.")
        await first.gone()
        asked, checked = len(llm.prompts), len(check.asked)
        async with a_process(house, llm, check) as second:
            await second.go_on()
            end = await second.end(ticket.run.id)

    at, is_kept = death.passed[-1:], "commit.after" in death.passed
    assert [message.text for message in end.messages] == ['{"n":2}'], at
    assert await house.texts() == ["A number.", '{"n":2}'], at
    lacking = 0 if is_kept else 2 - death.passed.count("journal.after")
    assert len(llm.prompts) - asked == lacking, at
    assert check.asked[checked:] == ([] if is_kept else ['{"n":1}', '{"n":2}']), at
    return death


async def test_service_that_keeps_the_history_is_told_only_what_is_to_be_mended() -> None:
    house, check = await a_house(replace(SHAPED, first_message="")), OnlyEven()
    llm = ScriptedLLM(['{"n":1}', '{"n":2}', '{"n":4}'], keeps_answers=True)
    service = LinkedHistory(keeps="answers", log=house.store.conversations)
    async with a_process(house, llm, check, service=service) as process:
        await process.ask("A number.")
        await process.ask("Another.")

    assert [[each.text for each in asked.messages] for asked in llm.asked] == [
        ["A number."],
        ["n: it is odd. Mend that."],
        ["Another."],
    ]
    assert [asked.follows for asked in llm.asked] == [None, "answer_1", "answer_2"]
