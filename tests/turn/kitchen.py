"""An agent, a conversation with it, and the model that speaks for it, for tests of turns."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from typing_extensions import override

from tertulia import ids
from tertulia.agent.stored import PERFORMER, AgentPerformer
from tertulia.agent_settings import ModelSettings, RunLimits
from tertulia.conversations import Conversation, NewConversation
from tertulia.definitions import AgentDefinition
from tertulia.events import Event, RunFinished
from tertulia.llms.base import LLM
from tertulia.llms.models import Models
from tertulia.llms.scripted import Script, ScriptedLLM
from tertulia.messages import Message
from tertulia.runtime import RunOptions, Runtime
from tertulia.stores import Store
from tertulia.stores.in_memory import InMemoryStore
from tertulia.tools.base import Tool
from tertulia.tools.toolbox import Toolbox

DEFINITION = AgentDefinition(
    name="Chef", context="You are a chef.", instructions="Be brief.", first_message="Hello, I am the chef."
)
SHAPED = replace(
    DEFINITION, response_shape='{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}'
)


NO_LIMITS = RunLimits()


class OneModel(Models):
    """Whatever is asked for, it is this model."""

    def __init__(self, llm: LLM) -> None:
        super().__init__("scripted:echo")
        self._llm = llm

    @override
    def get(self, names: str | Sequence[str] | None) -> LLM:
        return self._llm


class Kitchen:
    """An agent, a conversation with it, and the model that speaks for it."""

    def __init__(self, llm: ScriptedLLM, store: Store, runtime: Runtime, row: Conversation) -> None:
        self.llm, self.store, self.runtime, self.row = llm, store, runtime, row

    async def ask(self, text: str, *, limits: RunLimits = NO_LIMITS, **settings: object) -> RunFinished:
        options = RunOptions(settings=ModelSettings.parse(settings), limits=limits)
        ticket = await self.runtime.submit(text, conversation=self.row.id, options=options)
        return await ticket.finished()

    async def follow(self, text: str) -> list[Event]:
        options = RunOptions(deltas=True)
        ticket = await self.runtime.submit(text, conversation=self.row.id, options=options)
        return [numbered.event async for numbered in ticket.events()]

    async def messages(self) -> list[Message]:
        return await self.store.conversations.messages(0, self.row.id)

    async def texts(self) -> list[str]:
        return [message.text for message in await self.messages()]

    async def conversation(self) -> Conversation:
        return await self.store.conversations.get(0, self.row.id)


@asynccontextmanager
async def a_kitchen(
    script: Script | ScriptedLLM,
    definition: AgentDefinition = DEFINITION,
    *,
    context_tokens: int = 16_000,
    tools: Sequence[Tool] = (),
) -> AsyncIterator[Kitchen]:
    """An agent with these tools, all of which it may use."""
    llm = script if isinstance(script, ScriptedLLM) else ScriptedLLM(script, chunk=4)
    store = InMemoryStore()
    performer = AgentPerformer(store, OneModel(llm), context_tokens=context_tokens, toolbox=Toolbox(tools))
    runtime = Runtime(store, {PERFORMER: performer})
    await runtime.start()
    try:
        chosen = replace(definition, tools=tuple(tool.spec.name for tool in tools))
        agent = await store.agents.create(0, ids.new_id(ids.AGENT), chosen)
        new = NewConversation(id=ids.new_id(ids.CONVERSATION), agent_id=agent.id)
        yield Kitchen(llm, store, runtime, await store.conversations.create(0, new))
    finally:
        await runtime.stop()
