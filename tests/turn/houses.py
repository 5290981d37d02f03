"""One conversation with an agent, and the processes that carry its runs out, one after another."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final

from tertulia import ids
from tertulia.agent.stored import AgentPerformer
from tertulia.conversations import Conversation, NewConversation, Wait
from tertulia.definitions import AgentDefinition
from tertulia.engine import Decision, Engine, Ticket
from tertulia.events import Numbered, RunFinished, RunWaiting
from tertulia.llms.scripted import Script, ScriptedLLM
from tertulia.memory.tokens import tokens_of
from tertulia.messages import Message
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import a_submission
from tertulia.tools.base import Tool
from tertulia.tools.toolbox import Toolbox
from tests.engine.kit import Clock, Rounds, an_engine, followed, settled
from tests.turn.kitchen import DEFINITION, OneModel

_SECONDS: Final = 20


class Died(BaseException):
    """The process that carries a run out is gone."""


class Death:
    """A probe that ends the n-th time a point is passed, whichever it is, and every time after that."""

    def __init__(self, passing: int) -> None:
        self.passed: list[str] = []
        self._passing = passing

    def __call__(self, point: str) -> None:
        if not point.startswith("frames"):  # events are stored when it is time, not at a place
            self.passed.append(point)
        if self.has_come:
            raise Died

    @property
    def has_come(self) -> bool:
        """Whether the process is gone."""
        return len(self.passed) >= self._passing


def nothing_passed(_point: str) -> None:
    """Be told of a point, and live."""


@dataclass
class House:
    """A store with one agent and one conversation with it."""

    store: InMemoryStore
    clock: Clock
    row: Conversation
    tools: Sequence[Tool] = ()

    async def messages(self) -> list[Message]:
        return await self.store.conversations.messages(0, self.row.id)

    async def texts(self) -> list[str]:
        return [message.text for message in await self.messages()]


@dataclass
class Process:
    """An engine on the house's store, with a model of its own."""

    house: House
    engine: Engine
    llm: ScriptedLLM
    rounds: Rounds = field(default_factory=Rounds)

    async def say(self, text: str, **options: object) -> Ticket:
        """Have a message taken in by somebody who follows the answer."""
        submission = a_submission(self.house.row, text)
        return await self.engine.submit(
            replace(submission, tokens=tokens_of(submission.content), options={"deltas": True, **options})
        )

    async def ask(self, text: str, **options: object) -> RunFinished:
        """Have a message answered."""
        async with asyncio.timeout(_SECONDS):
            return await (await self.say(text, **options)).finished()

    async def gone(self) -> None:
        """Return when it has died, or has nothing left to do; it takes nothing over meanwhile."""
        await self.engine._chores.stop()
        await settled(self.engine)

    async def go_on(self) -> None:
        """Take over what the process before has left, and carry it out as far as it goes."""
        self.house.clock.let_leases_run_out()
        await self.rounds.look()
        await settled(self.engine)

    async def waits(self, run_id: str) -> Wait:
        """Return what a run waits for, once it does."""
        async with asyncio.timeout(_SECONDS):
            async for numbered in await self.engine.follow(0, run_id):
                run = await self.house.store.runs.get(0, run_id)
                if isinstance(numbered.event, RunWaiting) and run.wait == numbered.event.wait:
                    return numbered.event.wait
        raise AssertionError("it did not wait")

    async def decide(self, run_id: str, verdict: str, value: object = None) -> Ticket:
        return await self.engine.decide(0, run_id, Decision(verdict=verdict, value=value))

    async def told(self, run_id: str) -> list[Numbered]:
        """Return everything that was told of a run, to its end."""
        async with asyncio.timeout(_SECONDS):
            return await followed(self.engine, run_id)

    async def end(self, run_id: str) -> RunFinished:
        """Return the end of a run that another process had taken in."""
        last = (await self.told(run_id))[-1].event
        assert isinstance(last, RunFinished)
        return last


async def a_house(definition: AgentDefinition = DEFINITION, tools: Sequence[Tool] = ()) -> House:
    """A conversation with an agent that may use these tools."""
    clock = Clock()
    store = InMemoryStore(now=clock)
    chosen = replace(definition, tools=tuple(tool.spec.name for tool in tools))
    agent = await store.agents.create(0, ids.new_id(ids.AGENT), chosen)
    new = NewConversation(id=ids.new_id(ids.CONVERSATION), agent_id=agent.id)
    return House(store, clock, await store.conversations.create(0, new), tools)


@asynccontextmanager
async def a_process(
    house: House,
    model: Script | ScriptedLLM,
    *,
    tools: Sequence[Tool] | None = None,
    context_tokens: int = 16_000,
    probe: Callable[[str], None] = nothing_passed,
) -> AsyncIterator[Process]:
    """A process that has the house's tools, unless it has others."""
    llm = model if isinstance(model, ScriptedLLM) else ScriptedLLM(model, chunk=4)
    toolbox = Toolbox(house.tools if tools is None else tools)
    performer = AgentPerformer(house.store, OneModel(llm), context_tokens=context_tokens, toolbox=toolbox)
    rounds = Rounds()
    asyncio.get_running_loop().set_exception_handler(_tell_nobody_of_deaths)
    with suppress(Died):  # one that is gone takes no leave
        async with an_engine(house.store, performer, rounds, probe=probe) as engine:
            yield Process(house, engine, llm, rounds)


def _tell_nobody_of_deaths(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    if not isinstance(context.get("exception"), Died):
        loop.default_exception_handler(context)
