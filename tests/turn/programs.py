"""Processes that carry out the runs of an agent that a program has, one after another."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from typing_extensions import override

from tertulia.agent import Agent
from tertulia.agent.performing import ProgramPerformer
from tertulia.llms.scripted import ScriptedLLM
from tests.engine.kit import Rounds, an_engine
from tests.turn.houses import Death, Died, House, Process, _tell_nobody_of_deaths, nothing_passed


@asynccontextmanager
async def a_program(
    house: House, agent: Agent, *, probe: Callable[[str], None] = nothing_passed
) -> AsyncIterator[Process]:
    """A process in which this agent answers in the house's conversation."""
    performer, rounds = ProgramPerformer(agent.parts, house.store), Rounds()
    llm = agent.parts.model
    assert isinstance(llm, ScriptedLLM)
    asyncio.get_running_loop().set_exception_handler(_tell_nobody_of_deaths)
    with suppress(Died):  # one that is gone takes no leave
        async with an_engine(house.store, performer, rounds, probe=probe) as engine:
            yield Process(house, engine, llm, rounds)


async def die_and_go_on(house: House, make: Callable[[], Agent], text: str, death: Death) -> None:
    """Have a message answered by a process that may die on the way, and then by another."""
    async with a_program(house, make(), probe=death) as first:
        ticket = await first.say(text)
        await first.gone()
        async with a_program(house, make()) as second:
            await second.go_on()
            await second.end(ticket.run.id)


def death_at(point: str, *, passing: int = 1) -> Death:
    """Return a probe that ends the n-th time this point is passed, and every time after that."""

    class At(Death):
        @override
        def __call__(self, passed: str) -> None:
            if passed == point or self.has_come:
                super().__call__(passed)

    return At(passing)


def moments(death: Death) -> range:
    """Return when a process may die that lives on: anywhere from the beginning of its run to its end."""
    return range(death.passed.index("run.begin") + 1, death.passed.index("end.after") + 1)
