"""Carrying out the runs of an agent that a program has."""

from collections.abc import Collection, Mapping
from typing import Any

from typing_extensions import override

from tertulia.agent.asked import limits_of, settings_of
from tertulia.agent.parts import AgentParts
from tertulia.agent.picking import picked
from tertulia.conversations import Conversation
from tertulia.definitions import StoredAgent
from tertulia.engine import ActiveRun, Performer, Turn
from tertulia.llms.base import LLM
from tertulia.memory.history.opened import HistorySessions
from tertulia.memory.history.service import LinkedHistory
from tertulia.memory.states import States
from tertulia.memory.views.base import View
from tertulia.memory.views.log import LogView
from tertulia.memory.views.provided import ProvidedView
from tertulia.memory.views.reduced import ReducedView
from tertulia.stores.base import Store
from tertulia.tools.base import Tool
from tertulia.turn import Speaker, Windows, speak, summarize
from tertulia.turn.copying import forget
from tertulia.turn.speaker import Beside


class ProgramPerformer(Performer):
    """Carries out the runs of one agent on one store, as its program defines it now."""

    def __init__(self, parts: AgentParts, store: Store) -> None:
        self._parts, self._store = parts, store
        self._view = _view(parts, store)
        self._windows = Windows()
        self._beside = _beside(parts, store)
        histories = parts.histories
        self._service = (
            None
            if histories.service is None
            else LinkedHistory(keeps=histories.service.keeps, log=store.conversations)
        )

    @override
    async def perform(self, run: ActiveRun) -> Turn | None:
        parts, options = self._parts, run.run.options
        tools = await picked(parts.toolbox, parts.choices, tenant=run.run.tenant, is_resumed=run.is_resumed)
        agent = self._agent(run.conversation, version=run.run.agent_version)
        return await speak(run, self._speaker(agent, options, tools), self._view)

    async def summarize(self, conversation: Conversation) -> dict[str, Any]:
        """Return a summary of a conversation, as :func:`tertulia.turn.summarize` does; nothing is kept."""
        parts = self._parts
        tools = await parts.toolbox.pick_what_is_there(parts.choices, tenant=conversation.tenant)
        agent = self._agent(conversation, version=conversation.agent_version)
        return await summarize(conversation, self._speaker(agent, {}, tools), self._view)

    async def forget(self, conversation: Conversation, ids: Collection[str]) -> None:
        """Have the history providers forget messages, as :func:`tertulia.turn.copying.forget` does."""
        sessions = HistorySessions(States(self._store.states), self._parts.definition.name)
        await forget(self._parts.histories.told, conversation, ids, sessions=sessions)

    def _speaker(
        self, agent: StoredAgent, options: Mapping[str, object], tools: Mapping[str, Tool]
    ) -> Speaker:
        parts = self._parts
        limits = parts.definition.limits.within(limits_of(options))
        return Speaker(
            agent=agent,
            llm=self._llm(),
            settings=parts.definition.settings.under(settings_of(options)),
            context_tokens=parts.context_tokens,
            call_seconds=parts.models.options.whole_seconds,
            windows=self._windows,
            tools=tools,
            limits=limits.within(parts.limits),
            wants_deltas=bool(options.get("deltas", False)),
            check=parts.shape.check,
            service=self._service,
            beside=self._beside,
        )

    def _llm(self) -> LLM:
        return self._parts.model

    def _agent(self, conversation: Conversation, *, version: int | None) -> StoredAgent:
        """Return the agent as the program defines it, under the version that something was accepted with."""
        return StoredAgent(
            id=conversation.agent_id,
            tenant=conversation.tenant,
            version=version or 0,
            definition=self._parts.definition,
            created_at=0,
        )


def _view(parts: AgentParts, store: Store) -> View:
    histories = parts.histories
    if histories.read is not None:
        return ProvidedView(
            histories.read,
            agent=parts.definition.name,
            reducer=histories.reducer,
            log=store.conversations,
            states=store.states,
        )
    if histories.reducer is not None:
        return ReducedView(store.conversations, store.states, histories.reducer)
    return LogView(store.conversations)


def _beside(parts: AgentParts, store: Store) -> Beside | None:
    if not parts.context_providers and not parts.histories.told:
        return None
    return Beside(
        context_providers=parts.context_providers,
        histories=parts.histories.told,
        states=States(store.states),
        log=store.conversations,
    )
