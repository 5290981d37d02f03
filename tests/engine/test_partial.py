"""What an agent had said when it was stopped is kept if somebody wants it: that, and nothing before it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from typing_extensions import override

from tertulia import ids
from tertulia.agent.stored import PERFORMER, AgentPerformer
from tertulia.conversations import Conversation, RunStatus
from tertulia.definitions import AgentDefinition
from tertulia.engine import Ticket
from tertulia.errors import RunCancelled
from tertulia.llms.base import LLM, Finished, LLMEvent, Prompt, TextDelta
from tertulia.llms.models import Models
from tertulia.llms.scripted import ScriptedLLM
from tertulia.messages import Flag, Message
from tertulia.runtime import Runtime
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import a_new_conversation

pytestmark = pytest.mark.usefixtures("quick")

SHAPE = '{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}'
STOPS = "|"
"""Where a model stops speaking, until it is let."""


class Hesitant(ScriptedLLM):
    """A model that stops in the middle of an answer."""

    def __init__(self, *replies: str) -> None:
        super().__init__(replies, chunk=1)
        self.reached, self.let = asyncio.Event(), asyncio.Event()

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        async for event in super().stream(prompt):
            match event:
                case TextDelta(text=text) if text == STOPS:
                    self.reached.set()
                    await self.let.wait()
                case Finished(text=text, usage=usage):
                    yield Finished(text=text.replace(STOPS, ""), model=self.name, usage=usage)
                case _:
                    yield event


class OneModel(Models):
    """Whatever is asked for, it is this model."""

    def __init__(self, llm: LLM) -> None:
        super().__init__("scripted:echo")
        self._llm = llm

    @override
    def get(self, name: str | tuple[str, ...] | None) -> LLM:
        return self._llm


@dataclass(frozen=True)
class Kitchen:
    """An agent that was asked something and hesitates."""

    runtime: Runtime
    llm: Hesitant
    ticket: Ticket

    async def kept(self) -> list[Message]:
        """Return what was kept of the answer."""
        row: Conversation = self.ticket.conversation
        return await self.runtime.store.conversations.messages(0, row.id, after=1)


@asynccontextmanager
async def a_kitchen(*replies: str, shape: str = "") -> AsyncIterator[Kitchen]:
    store, llm = InMemoryStore(), Hesitant(*replies)
    runtime = Runtime(store, {PERFORMER: AgentPerformer(store, OneModel(llm), context_tokens=16_000)})
    await runtime.start()
    try:
        definition = AgentDefinition(name="Chef", response_shape=shape)
        agent = await store.agents.create(0, ids.new_id(ids.AGENT), definition)
        ticket = await runtime.submit("How many?", conversation=a_new_conversation(agent))
        await asyncio.wait_for(llm.reached.wait(), 10)
        yield Kitchen(runtime, llm, ticket)
    finally:
        await runtime.stop()


async def test_what_the_agent_had_said_is_kept_as_its_message() -> None:
    async with a_kitchen("About t|hree.") as kitchen:
        run = await kitchen.runtime.cancel(kitchen.ticket.run.id, keep_partial=True)
        with pytest.raises(RunCancelled):
            await kitchen.ticket.finished()
        [message] = await kitchen.kept()

    assert (message.text, message.author, message.turn) == ("About t", "Chef", 1)
    assert message.flags == Flag.INCOMPLETE
    assert (run.status, run.last_number) == (RunStatus.CANCELLED, 2)


async def test_what_the_agent_had_said_is_not_kept_if_nobody_wants_it() -> None:
    async with a_kitchen("About t|hree.") as kitchen:
        await kitchen.runtime.cancel(kitchen.ticket.run.id)
        kept = await kitchen.kept()

    assert kept == []


async def test_agent_that_had_said_nothing_yet_has_no_message() -> None:
    async with a_kitchen("  |three") as kitchen:
        run = await kitchen.runtime.cancel(kitchen.ticket.run.id, keep_partial=True)
        kept = await kitchen.kept()

    assert (run.status, run.last_number, kept) == (RunStatus.CANCELLED, 0, [])


async def test_answer_that_was_being_mended_is_kept_without_the_one_before_it() -> None:
    async with a_kitchen("three", '{"n"|: 3}', shape=SHAPE) as kitchen:
        await kitchen.runtime.cancel(kitchen.ticket.run.id, keep_partial=True)
        [message] = await kitchen.kept()

    assert (message.text, message.flags) == ('{"n"', Flag.INCOMPLETE)


async def test_next_message_is_answered_after_one_that_was_cut_short() -> None:
    async with a_kitchen("About t|hree.", "Four.") as kitchen:
        await kitchen.runtime.cancel(kitchen.ticket.run.id, keep_partial=True)
        ticket = await kitchen.runtime.submit("And now?", conversation=kitchen.ticket.conversation.id)
        await ticket.finished()
        shown = [seen["content"] for seen in kitchen.llm.prompts[-1]]
        kept = [message.text for message in await kitchen.kept()]

    assert kept == ["About t", "And now?", "Four."]
    assert shown[-1] == "And now?"
