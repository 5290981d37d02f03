"""Stored agents: whoever carries out their runs."""

from collections.abc import Collection, Mapping
from typing import Any, Final, Protocol

from typing_extensions import override

from tertulia.agent.asked import RUN_LIMITS, limits_of, settings_of
from tertulia.agent.picking import picked
from tertulia.agent_settings import RunLimits
from tertulia.conversations import Conversation
from tertulia.definitions import StoredAgent
from tertulia.engine import ActiveRun, Performer, Turn
from tertulia.errors import NotFound, NotServedHere
from tertulia.llms.models import Models
from tertulia.memory.context import CONTEXTS
from tertulia.memory.context.base import ContextProvider
from tertulia.memory.context.building import Means
from tertulia.memory.states import States
from tertulia.memory.views.log import LogView
from tertulia.stores import Store
from tertulia.tools.base import Tool
from tertulia.tools.toolbox import Toolbox
from tertulia.turn import Speaker, Windows, speak, summarize
from tertulia.turn.speaker import Beside

PERFORMER: Final = "agent"
"""Name of the performer of stored agents: any process with their store can be it."""
_KEPT: Final = 1024
_PAGE: Final = 500


class Program(Performer, Protocol):
    """Carries out the runs of an agent that is part of a program."""

    async def summarize(self, conversation: Conversation) -> dict[str, Any]:
        """Return a summary of a conversation, as :func:`tertulia.turn.summarize` does; nothing is kept."""
        ...

    async def forget(self, conversation: Conversation, ids: Collection[str]) -> None:
        """Have messages forgotten by whoever keeps them beside the log.

        Raises :class:`~tertulia.errors.ProviderError` if somebody cannot.
        """
        ...


class AgentPerformer(Performer):
    """Carries out the runs of stored agents, each with the version that its run was accepted with."""

    def __init__(  # noqa: PLR0913  # a public constructor
        self,
        store: Store,
        models: Models,
        *,
        context_tokens: int,
        call_seconds: float = 120.0,
        toolbox: Toolbox | None = None,
        limits: RunLimits = RUN_LIMITS,
        databases: Mapping[str, ContextProvider] | None = None,
        programs: Mapping[str, Program] | None = None,
    ) -> None:
        """Carry out runs with these models; ``programs`` perform the agents that need one, by its name."""
        self._store, self._models = store, models
        self._context_tokens, self._call_seconds = context_tokens, call_seconds
        self._toolbox, self._limits = toolbox or Toolbox(), limits
        self._databases, self._programs = dict(databases or {}), dict(programs or {})
        self._view = LogView(store.conversations)
        self._states = States(store.states)
        self._windows = Windows()
        self._agents: dict[tuple[int, str, int | None], StoredAgent] = {}
        self._company: dict[tuple[int, str, int], Beside] = {}

    @override
    async def perform(self, run: ActiveRun) -> Turn | None:
        agent, tenant = await self._agent(run.conversation, run.run.agent_version), run.run.tenant
        if program := agent.definition.program:
            return await self._program(program).perform(run)
        choices = agent.definition.tools
        tools = await picked(self._toolbox, choices, tenant=tenant, is_resumed=run.is_resumed)
        return await speak(run, self._speaker(agent, run.run.options, tools), self._view)

    async def summarize(self, conversation: Conversation) -> dict[str, Any]:
        """Return a summary of a conversation, as :func:`tertulia.turn.summarize` does; nothing is kept."""
        agent = await self._agent(conversation, conversation.agent_version)
        if program := agent.definition.program:
            return await self._program(program).summarize(conversation)
        choices = agent.definition.tools
        tools = await self._toolbox.pick_what_is_there(choices, tenant=conversation.tenant)
        return await summarize(conversation, self._speaker(agent, {}, tools), self._view)

    async def forget(self, conversation: Conversation, numbers: Collection[int]) -> None:
        """Have messages that were taken back in the log forgotten by whoever keeps them beside it.

        Raises :class:`~tertulia.errors.ProviderError` if somebody cannot, and
        :class:`~tertulia.errors.NotServedHere` if that is not known here.
        """
        agent = await self._agent(conversation, conversation.agent_version)
        if name := agent.definition.program:
            try:
                program = self._program(name)
            except NotServedHere as error:
                raise NotServedHere(f"done in the log, and perhaps not everywhere: {error}") from error
            await program.forget(conversation, await self._ids_of(conversation, numbers))

    async def _ids_of(self, conversation: Conversation, numbers: Collection[int]) -> list[str]:
        """Return the ids of messages by their numbers."""
        found: list[str] = []
        after, last = min(numbers) - 1, max(numbers)
        while page := await self._store.conversations.messages(
            conversation.tenant, conversation.id, after=after, limit=min(_PAGE, last - after)
        ):
            found += [message.id for message in page if message.number in numbers]
            after = page[-1].number
            if after >= last:
                break
        return found

    def _speaker(
        self, agent: StoredAgent, options: Mapping[str, object], tools: Mapping[str, Tool]
    ) -> Speaker:
        definition = agent.definition
        limits = definition.limits.within(limits_of(options))
        return Speaker(
            agent=agent,
            llm=self._models.get(definition.model),
            settings=definition.settings.under(settings_of(options)),
            context_tokens=self._context_tokens,
            call_seconds=self._call_seconds,
            windows=self._windows,
            tools=tools,
            limits=limits.within(self._limits),
            wants_deltas=bool(options.get("deltas", False)),
            beside=self._beside(agent),
        )

    def _program(self, name: str) -> Program:
        try:
            return self._programs[name]
        except KeyError:
            raise NotServedHere(
                f"this agent is part of a program ({name}) that is not served here; "
                "serve it with: tertulia serve MODULE:NAME"
            ) from None

    def _beside(self, agent: StoredAgent) -> Beside | None:
        """Return the context providers that an agent's author chose; versions never change."""
        choices = agent.definition.context_providers
        if not choices:
            return None
        key = (agent.tenant, agent.id, agent.version)
        beside = self._company.get(key)
        if beside is None:
            means = Means(store=self._store, tenant=agent.tenant, databases=self._databases)
            providers = tuple(CONTEXTS.get(choice.name).build(choice.options, means) for choice in choices)
            beside = Beside(context_providers=providers, states=self._states, log=self._store.conversations)
            if len(self._company) >= _KEPT:
                self._company.clear()
            self._company[key] = beside
        return beside

    async def _agent(self, conversation: Conversation, version: int | None) -> StoredAgent:
        """Return a conversation's agent; versions never change, so they are kept."""
        key = (conversation.tenant, conversation.agent_id, version)
        agent = None if version is None else self._agents.get(key)
        if agent is None:
            try:
                agent = await self._store.agents.get(*key[:2], version=version)
            except NotFound:
                raise NotFound("the conversation's agent is gone") from None
            if len(self._agents) >= _KEPT:
                self._agents.clear()
            self._agents[key] = agent
        return agent
