"""What an agent of a program is made of, checked and never changed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

import orjson

from tertulia.agent_settings import RunLimits
from tertulia.definitions import AgentDefinition, RemoteTools, ToolChoice
from tertulia.errors import InvalidInput
from tertulia.llms.base import LLM
from tertulia.llms.models import ModelNames, Models
from tertulia.memory.context.asking import check_names, source_of
from tertulia.memory.context.base import ContextProvider
from tertulia.memory.history.base import HistoryProvider, SupportsLog
from tertulia.memory.history.recording import flags_of
from tertulia.memory.history.service import ServiceHistoryProvider
from tertulia.memory.reducers import ReducerChain
from tertulia.memory.reducers.base import Reducer
from tertulia.stores.base import Store
from tertulia.tools.base import Tool, ToolSource
from tertulia.tools.functions import as_tool
from tertulia.tools.toolbox import SERVER, Toolbox

AgentTool: TypeAlias = Tool | ToolSource | RemoteTools | Callable[..., Any]
"""A tool, a function that becomes one, a server of tools, or one elsewhere by its address."""
AgentHistory: TypeAlias = HistoryProvider | ServiceHistoryProvider


@runtime_checkable
class SupportsClosing(Protocol):
    """Lets go of what it has opened; those who opened nothing need not be able to."""

    async def close(self) -> None:
        """Let go of it; may be called twice."""
        ...


PROGRAM: Final = "program:"
"""What the name of a performer begins with that is part of a program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Histories:
    """Where the conversations of an agent are kept."""

    store: str | Store | None = None
    """The store of its conversations; ``None`` for the memory of this process."""
    read: HistoryProvider | None = None
    """What is shown of the past comes from here; ``None`` for the log."""
    told: tuple[HistoryProvider, ...] = ()
    """All that are told what was said."""
    reducers: tuple[Reducer, ...] = ()
    service: ServiceHistoryProvider | None = None

    @classmethod
    def of(
        cls,
        given: AgentHistory | Sequence[AgentHistory] | None,
        *,
        store: str | Store | None,
        reducers: Sequence[Reducer],
    ) -> "Histories":
        """Sort out what was given; raises :class:`InvalidInput` for what goes not together."""
        all_given = [] if given is None else [given] if not isinstance(given, Sequence) else list(given)
        services = [each for each in all_given if isinstance(each, ServiceHistoryProvider)]
        plugs = [each for each in all_given if not isinstance(each, ServiceHistoryProvider)]
        read = [each for each in plugs if flags_of(each).load_messages]
        if len(services) + len(read) > 1:
            raise InvalidInput(
                "an agent has one history that is read: wrap the others in Recording(…), which only writes"
            )
        if services and reducers:
            raise InvalidInput(
                "a model's service shapes the history that it keeps itself: leave out the reducers, or the "
                "ServiceHistoryProvider"
            )
        _check_names(plugs)
        # One that was lent a store has no URL to offer, and is asked like any other.
        log = next((each for each in read if isinstance(each, SupportsLog) and each.store_url), None)
        if log is None:
            return cls(
                store=store,
                read=read[0] if read else None,
                told=tuple(plugs),
                reducers=tuple(reducers),
                service=services[0] if services else None,
            )
        if store is not None and store != log.store_url:
            raise InvalidInput("the history is a store already: leave out store, or the history")
        own = getattr(log, "reducer", None)
        return cls(
            store=log.store_url,
            told=tuple(each for each in plugs if each is not log),
            reducers=(*(() if own is None else (own,)), *reducers),
        )

    @property
    def reducer(self) -> Reducer | None:
        """All reducers as one; ``None`` if there are none."""
        if len(self.reducers) == 1:
            return self.reducers[0]
        return ReducerChain(self.reducers) if self.reducers else None

    @property
    def is_elsewhere(self) -> bool:
        """Whether anybody but the log keeps what was said."""
        return bool(self.read or self.told or self.service)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentParts:
    """What an agent of a program is made of."""

    definition: AgentDefinition
    is_named: bool
    """Whether its author gave it a name."""
    llm: LLM | None
    """The model itself, if it was given; otherwise the definition says which."""
    models: Models
    toolbox: Toolbox
    choices: tuple[ToolChoice, ...]
    context_providers: tuple[ContextProvider, ...]
    histories: Histories
    limits: RunLimits
    context_tokens: int

    @property
    def model(self) -> LLM:
        """The model that answers; raises :class:`~tertulia.errors.UnknownModel`."""
        return self.llm or self.models.get(self.definition.model)

    @property
    def stored(self) -> AgentDefinition:
        """What of the agent is stored, so that servers know it: they need its program for the rest."""
        is_whole = not (self.llm or self.choices or self.context_providers)
        histories = self.histories
        is_plain = not (histories.read or histories.told or histories.reducers or histories.service)
        return replace(self.definition, program="" if is_whole and is_plain else self.performer)

    @property
    def model_name(self) -> str:
        """What its model was called when it was made."""
        name = self.definition.model
        return ", ".join(name) if isinstance(name, tuple) else name or "the default"

    @property
    def performer(self) -> str:
        """The name under which a program carries out this agent's runs."""
        name = f"{PROGRAM}{self.definition.name}"
        return name if self.is_named else f"{name}@{self.digest[:8]}"

    def aside(self) -> "AgentParts":
        """Return the same agent for runs of which nothing is kept."""
        return replace(self, histories=Histories(reducers=self.histories.reducers))

    def checked(self) -> "AgentParts":
        """Return this, or raise :class:`InvalidInput` if its parts do not go together."""
        if self.histories.service is not None and not self.model.keeps_answers:
            raise InvalidInput(
                f"the service of the model {self.model_name} keeps no answers; use openai:… with a "
                "ServiceHistoryProvider, or another history"
            )
        return self

    @property
    def digest(self) -> str:
        """Digest of what shapes the agent's answers, its model and limits left out."""
        definition = self.definition
        told = [
            definition.context,
            definition.instructions,
            definition.first_message,
            definition.response_shape,
            [str(choice) for choice in self.choices],
            [source_of(provider) for provider in self.context_providers],
        ]
        return sha256(orjson.dumps(told)).hexdigest()[:32]


def sorted_tools(given: Iterable[AgentTool]) -> tuple[Toolbox, tuple[ToolChoice, ...]]:
    """Return a toolbox of everything that was given, and the choice of all of it.

    Raises :class:`InvalidInput` for two tools of one name, and for what is no tool.
    """
    functions: list[Tool] = []
    servers: dict[str, ToolSource] = {}
    choices: list[ToolChoice] = []
    for each in given:
        if isinstance(each, RemoteTools):
            choices.append(each)
        elif ToolSource in type(each).__mro__:
            label = f"server{len(servers) + 1}"
            servers[label] = each  # type: ignore[assignment]  # its base says so
            choices.append(f"{SERVER}{label}")
        elif callable(each) or Tool in type(each).__mro__:
            functions.append(as_tool(each))  # type: ignore[arg-type]  # it is no server of tools, see above
            choices.append(functions[-1].spec.name)
        else:
            raise InvalidInput(
                f"{type(each).__name__} is no tool; give functions, tools made by @tool, or servers of tools"
            )
    return Toolbox(functions, servers), tuple(choices)


def checked_context_providers(given: Sequence[ContextProvider]) -> tuple[ContextProvider, ...]:
    """Return context providers that go together; raises :class:`InvalidInput` otherwise."""
    check_names(given)
    return tuple(given)


def names_of(llm: str | Sequence[str] | LLM | None) -> tuple[ModelNames, LLM | None]:
    """Return what names a model, and the model itself if it was given."""
    if llm is None:
        return None, None
    if isinstance(llm, str):
        return llm, None
    if isinstance(llm, Sequence):
        if not llm or not all(isinstance(name, str) for name in llm):
            raise InvalidInput("several models are named by a list of texts, provider:model each")
        return tuple(llm), None
    return llm.name, llm


def _check_names(plugs: Sequence[HistoryProvider]) -> None:
    names = [plug.name for plug in plugs]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f"two history providers are named {name!r}; give one of them another name")
