"""Stored agents: whoever carries out their runs."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from typing_extensions import override

from tertulia.agent_settings import ModelSettings, RunLimits
from tertulia.conversations import Conversation
from tertulia.definitions import StoredAgent, ToolChoice
from tertulia.engine import ActiveRun, Performer, Turn
from tertulia.errors import NotFound, ToolUnavailable
from tertulia.llms.models import Models
from tertulia.memory.views.log import LogView
from tertulia.stores import Store
from tertulia.tools.base import Tool
from tertulia.tools.toolbox import Toolbox
from tertulia.turn import Speaker, Windows, summarize, take

PERFORMER: Final = "agent"
"""Name of the performer of stored agents: any process with their store can be it."""
RUN_LIMITS: Final = RunLimits(max_steps=50)
"""What a run may use up, if nothing else was said."""
_KEPT: Final = 1024
_PICK_SECONDS: Final = 20.0
"""How long servers of tools may take to say what they have: less than a run may be silent."""


class AgentPerformer(Performer):
    """Carries out the runs of stored agents, each with the version that its run was accepted with."""

    def __init__(  # a public constructor
        self,
        store: Store,
        models: Models,
        *,
        context_tokens: int,
        call_seconds: float = 120.0,
        toolbox: Toolbox | None = None,
        limits: RunLimits = RUN_LIMITS,
    ) -> None:
        self._store, self._models = store, models
        self._context_tokens, self._call_seconds = context_tokens, call_seconds
        self._toolbox, self._limits = toolbox or Toolbox(), limits
        self._history = LogView(store.conversations)
        self._windows = Windows()
        self._agents: dict[tuple[int, str, int | None], StoredAgent] = {}

    @override
    async def perform(self, run: ActiveRun) -> Turn | None:
        agent, tenant = await self._agent(run.conversation, run.run.agent_version), run.run.tenant
        choices = agent.definition.tools
        # What was begun is to be dealt with, whatever tools are there now.
        pick = self._toolbox.pick_what_is_there if run.is_resumed else self._tools
        tools = await pick(choices, tenant=tenant) if choices else {}
        return await take(run, self._speaker(agent, run.run.options, tools), self._history)

    async def summarize(self, conversation: Conversation) -> dict[str, Any]:
        """Return a summary of a conversation, as :func:`tertulia.turn.summarize` does; nothing is kept."""
        agent = await self._agent(conversation, conversation.agent_version)
        choices = agent.definition.tools
        tools = await self._toolbox.pick_what_is_there(choices, tenant=conversation.tenant)
        return await summarize(conversation, self._speaker(agent, {}, tools), self._history)

    async def _tools(self, choices: Sequence[ToolChoice], *, tenant: int) -> dict[str, Tool]:
        try:
            async with asyncio.timeout(_PICK_SECONDS):
                return await self._toolbox.pick(choices, tenant=tenant)
        except TimeoutError:
            raise ToolUnavailable("a server of tools takes too long to say what it has") from None

    def _speaker(
        self, agent: StoredAgent, options: Mapping[str, object], tools: Mapping[str, Tool]
    ) -> Speaker:
        definition = agent.definition
        limits = definition.limits.within(_limits(options.get("limits")))
        return Speaker(
            agent=agent,
            llm=self._models.get(definition.model),
            settings=definition.settings.under(_settings(options.get("settings"))),
            context_tokens=self._context_tokens,
            call_seconds=self._call_seconds,
            windows=self._windows,
            tools=tools,
            limits=limits.within(self._limits),
            wants_deltas=bool(options.get("deltas", False)),
        )

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


def _settings(kept: object) -> ModelSettings:
    """Return the settings that a run was accepted with."""
    return ModelSettings.of_kept(kept) if isinstance(kept, dict) else ModelSettings()


def _limits(kept: object) -> RunLimits:
    """Return the limits that a run was accepted with."""
    return RunLimits.of_kept(kept) if isinstance(kept, dict) else RunLimits()
