"""The composition root of the service: settings in, a working App out."""

from collections.abc import Sequence
from typing import Any, Final

from tertulia.agent.stored import PERFORMER, AgentPerformer
from tertulia.agent_settings import RunLimits
from tertulia.conversations import DEFAULT_TENANT
from tertulia.definitions import ToolChoice
from tertulia.engine import Probe, unobserved
from tertulia.hints import open_hints
from tertulia.llms import LLMOptions, Notify
from tertulia.llms.models import Models
from tertulia.llms.options import keep_quiet
from tertulia.llms.prices import Prices
from tertulia.runtime import Runtime
from tertulia.settings import Settings
from tertulia.stores import Health, StoreOptions, open_store
from tertulia.tools.loading import open_toolbox

_GRACE_SECONDS: Final = 1.0


class App:
    """Everything that the service is made of, and nothing that listens."""

    def __init__(self, settings: Settings, *, notify: Notify = keep_quiet, probe: Probe = unobserved) -> None:
        self.settings = settings
        self.store = open_store(settings.database_url, StoreOptions(synchronous=settings.sqlite_synchronous))
        self.models = Models(
            settings.default_model,
            options=LLMOptions(
                notify=notify,
                whole_seconds=settings.model_timeout_seconds,
                prices=Prices.of_file(settings.prices_file),
            ),
        )
        self.toolbox = open_toolbox(settings.tools, settings.mcp_file)
        self._agents = AgentPerformer(
            self.store,
            self.models,
            context_tokens=settings.context_tokens,
            call_seconds=settings.model_timeout_seconds,
            toolbox=self.toolbox,
            limits=_limits(settings),
        )
        self.runtime = Runtime(
            self.store,
            {PERFORMER: self._agents},
            hints=open_hints(settings.hints_url or settings.database_url),
            lease_seconds=settings.lease_seconds,
            probe=probe,
        )

    async def start(self) -> None:
        """Open the store and begin to work; raises what opening it raises."""
        await self.runtime.start()

    def drain(self) -> None:
        """Begin to take leave: be ready for nothing new, and send elsewhere who can go on elsewhere."""
        self.runtime.drain(grace_seconds=self.settings.shutdown_seconds)

    async def stop(self) -> None:
        """Hand over what is under way, and let go of everything.

        Who listens has given answers that somebody waits for their time already.
        """
        await self.runtime.stop(grace_seconds=min(_GRACE_SECONDS, self.settings.shutdown_seconds))
        await self.models.close()
        await self.toolbox.close()

    async def health(self) -> Health:
        """Say whether the service can do its work; never raises."""
        if self.runtime.is_draining:
            return Health(ready=False, detail="this server is about to stop; ask another one")
        return await self.store.health()

    def check_model(self, name: str | tuple[str, ...] | None) -> None:
        """Raise :class:`~tertulia.errors.UnknownModel` unless there can be such a model, or such a chain."""
        self.models.check(name)

    def check_tools(self, choices: Sequence[ToolChoice]) -> None:
        """Raise :class:`~tertulia.errors.UnknownTool` unless this installation has these tools.

        Servers of tools are not asked; an address where nobody may send us raises ``AddressRefused``.
        """
        self.toolbox.check(choices)

    async def summarize(self, conversation: str, *, tenant: int = DEFAULT_TENANT) -> dict[str, Any]:
        """Return a summary of a conversation: the keys of its agent's response shape, and ``summary``.

        It is kept nowhere. Raises ``NotFound``, and what :func:`tertulia.turn.summarize` raises.
        """
        return await self._agents.summarize(await self.store.conversations.get(tenant, conversation))


def _limits(settings: Settings) -> RunLimits:
    """Return what any run of this installation may use up."""
    return RunLimits(
        max_steps=settings.run_max_steps,
        max_tokens=settings.run_max_tokens,
        max_seconds=settings.run_max_seconds,
        max_cost=settings.run_max_cost,
    )
