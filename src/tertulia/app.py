"""The composition root of the service: settings in, a working App out."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from tertulia.agent.stored import PERFORMER, AgentPerformer, Program
from tertulia.agent_settings import RunLimits
from tertulia.conversations import DEFAULT_TENANT, Conversation
from tertulia.definitions import AgentDefinition, ContextChoice, ToolChoice
from tertulia.engine import Probe, unobserved
from tertulia.errors import InvalidInput
from tertulia.hints import open_hints
from tertulia.llms import LLMOptions, Notify
from tertulia.llms.models import Models
from tertulia.llms.options import keep_quiet
from tertulia.llms.prices import Prices
from tertulia.memory.context import CONTEXTS
from tertulia.memory.context.asking import check_names
from tertulia.memory.context.base import ContextProvider
from tertulia.memory.context.building import Means
from tertulia.messages import Flag
from tertulia.registry import load
from tertulia.runtime import Runtime
from tertulia.settings import Settings
from tertulia.stores import Health, StoreOptions, open_store
from tertulia.tools.loading import open_toolbox

if TYPE_CHECKING:
    from tertulia.programs import Programs, Servable

_GRACE_SECONDS: Final = 1.0
_READ_DATABASES: Final = "tertulia.memory.context.database_file:read_databases_file"
_SHOWN: Final = 50
"""Characters of a name that is none which are told."""


class App:
    """Everything that the service is made of, and nothing that listens."""

    def __init__(
        self,
        settings: Settings,
        *,
        agents: "Sequence[Servable]" = (),
        notify: Notify = keep_quiet,
        probe: Probe = unobserved,
    ) -> None:
        """Put together what the settings say; ``agents`` are served beside those that they name.

        Nothing is opened yet. Raises :class:`InvalidInput`, saying what to mend.
        """
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
        self._databases = _databases(settings)
        self._programs = _programs(settings, agents)
        programs = self._performers()
        self._carried = frozenset(programs)
        self._agents = AgentPerformer(
            self.store,
            self.models,
            context_tokens=settings.context_tokens,
            call_seconds=settings.model_timeout_seconds,
            toolbox=self.toolbox,
            limits=_limits(settings),
            databases=self._databases,
            programs=programs,
        )
        self.runtime = Runtime(
            self.store,
            {PERFORMER: self._agents, **programs},
            hints=open_hints(settings.hints_url or settings.database_url),
            lease_seconds=settings.lease_seconds,
            probe=probe,
        )

    @property
    def served(self) -> tuple[str, ...]:
        """The names of the agents of programs that are served."""
        return self._programs.names if self._programs else ()

    async def start(self) -> None:
        """Open the store and begin to work; raises what opening it raises."""
        await self.runtime.start()
        if self._programs is None:
            return
        try:
            await self._programs.register(self.store, url=self.settings.database_url)
        except BaseException:
            await self.stop()
            raise

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
        for database in self._databases.values():
            await database.close()
        if self._programs is not None:
            await self._programs.close()

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

    def check_context_providers(self, choices: Sequence[ContextChoice]) -> None:
        """Raise :class:`InvalidInput` unless this installation has these, and they take these options."""
        means = Means(store=self.store, tenant=DEFAULT_TENANT, databases=self._databases)
        check_names([_built(choice, means) for choice in choices])

    async def summarize(self, conversation: str, *, tenant: int = DEFAULT_TENANT) -> dict[str, Any]:
        """Return a summary of a conversation: the keys of its agent's response shape, and ``summary``.

        It is kept nowhere. Raises ``NotFound``, and what :func:`tertulia.turn.summarize` raises.
        """
        return await self._agents.summarize(await self.store.conversations.get(tenant, conversation))

    async def mark(
        self, conversation: str, numbers: Sequence[int], flag: Flag, *, tenant: int = DEFAULT_TENANT
    ) -> Conversation:
        """Withdraw or erase messages, also with history providers of a program; return the conversation.

        Raises what :meth:`~tertulia.stores.base.ConversationStore.mark` raises, and when it is done in the
        log :class:`~tertulia.errors.ProviderError` or :class:`~tertulia.errors.NotServedHere` if it is not
        done, or perhaps not done, everywhere. It may be asked for again.
        """
        marked = await self.store.conversations.mark(tenant, conversation, numbers, flag)
        await self._agents.forget(marked, frozenset(numbers))
        return marked

    def is_served(self, agent: AgentDefinition) -> bool:
        """Whether runs of an agent can be carried out here: if it is part of a program, that is needed."""
        return not agent.program or agent.program in self._carried

    def _performers(self) -> Mapping[str, Program]:
        if self._programs is None:
            return {}
        return self._programs.performers(self.store, self.models, limits=_limits(self.settings))


def _programs(settings: Settings, agents: "Sequence[Servable]") -> "Programs | None":
    # Most installations have none; what agents in Python are made of takes a while to import.
    if not settings.agents and not agents:
        return None
    found: Programs = load("tertulia.programs:Programs").found(settings.agents, agents)
    return found


def _databases(settings: Settings) -> Mapping[str, ContextProvider]:
    if settings.databases_file is None:
        return {}
    found: Mapping[str, ContextProvider] = load(_READ_DATABASES)(settings.databases_file)
    return found


def _built(choice: ContextChoice, means: Means) -> ContextProvider:
    if choice.name not in CONTEXTS:
        there_are = ", ".join(sorted(CONTEXTS))
        raise InvalidInput(f"there is no context provider {choice.name[:_SHOWN]!r}; there are: {there_are}")
    return CONTEXTS.get(choice.name).build(choice.options, means)


def _limits(settings: Settings) -> RunLimits:
    """Return what any run of this installation may use up."""
    return RunLimits(
        max_steps=settings.run_max_steps,
        max_tokens=settings.run_max_tokens,
        max_seconds=settings.run_max_seconds,
        max_cost=settings.run_max_cost,
    )
