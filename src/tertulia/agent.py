"""Stored agents: whoever carries out their runs."""

from typing import Final

from typing_extensions import override

from tertulia.definitions import Agent, ModelSettings
from tertulia.engine import ActiveRun, Performer, Turn
from tertulia.errors import NotFound
from tertulia.llms.models import Models
from tertulia.memory.history import LogHistory
from tertulia.stores import Store
from tertulia.turn import Speaker, Windows, take

PERFORMER: Final = "agent"
"""Name of the performer of stored agents: any process with their store can be it."""
_KEPT: Final = 1024


class AgentPerformer(Performer):
    """Carries out the runs of stored agents, each with the version that its run was accepted with."""

    def __init__(
        self, store: Store, models: Models, *, context_tokens: int, call_seconds: float = 120.0
    ) -> None:
        self._store, self._models = store, models
        self._context_tokens, self._call_seconds = context_tokens, call_seconds
        self._history = LogHistory(store.conversations)
        self._windows = Windows()
        self._agents: dict[tuple[int, str, int | None], Agent] = {}

    @override
    async def perform(self, run: ActiveRun) -> Turn | None:
        agent = await self._agent(run)
        options = run.run.options
        speaker = Speaker(
            agent=agent,
            llm=self._models.get(agent.definition.model),
            settings=agent.definition.settings.under(_own(options.get("settings"))),
            context_tokens=self._context_tokens,
            call_seconds=self._call_seconds,
            windows=self._windows,
            wants_deltas=bool(options.get("deltas", False)),
        )
        return await take(run, speaker, self._history)

    async def _agent(self, run: ActiveRun) -> Agent:
        """Return the agent at the version of the run; versions never change, so they are kept."""
        key = (run.run.tenant, run.conversation.agent_id, run.run.agent_version)
        agent = self._agents.get(key)
        if agent is None:
            tenant, agent_id, version = key
            try:
                agent = await self._store.agents.get(tenant, agent_id, version=version)
            except NotFound:
                raise NotFound("the conversation's agent is gone") from None
            if len(self._agents) >= _KEPT:
                self._agents.clear()
            self._agents[key] = agent
        return agent


def _own(kept: object) -> ModelSettings:
    """Return the settings that a run was accepted with."""
    return ModelSettings.of_kept(kept) if isinstance(kept, dict) else ModelSettings()
