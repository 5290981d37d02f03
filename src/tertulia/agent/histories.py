"""Where the conversations of an agent are kept, and what its models are shown of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tertulia.agent.given import listed, named
from tertulia.errors import InvalidInput
from tertulia.memory.history.base import HistoryProvider, SupportsLog
from tertulia.memory.history.in_memory import InMemoryHistoryProvider
from tertulia.memory.history.recording import flags_of
from tertulia.memory.history.service import ServiceHistoryProvider
from tertulia.memory.reducers import ReducerChain
from tertulia.memory.reducers.base import Reducer
from tertulia.stores import Store, open_store

AgentHistory: TypeAlias = HistoryProvider | ServiceHistoryProvider


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
        reducers: Reducer | Sequence[Reducer],
    ) -> "Histories":
        """Sort out what was given; raises :class:`InvalidInput` for what goes not together."""
        _check_store(store)
        services, plugs = _parted(listed(given, of="history"))
        reads = [plug for plug in plugs if flags_of(plug).load_messages]
        if len(services) + len(reads) > 1:
            raise InvalidInput(
                "an agent has one history that is read: wrap the others in Recording(…), which only writes"
            )
        chosen = _reducers(reducers)
        if services and chosen:
            raise InvalidInput(
                "a model's service shapes the history that it keeps itself: leave out the reducers, or the "
                "ServiceHistoryProvider"
            )
        service, read = next(iter(services), None), next(iter(reads), None)
        # One that was lent a store has no URL to offer, and is asked like any other.
        if isinstance(read, SupportsLog) and read.store_url:
            if store is not None and store != read.store_url:
                raise InvalidInput("the history is a store already: leave out store, or the history")
            others = tuple(plug for plug in plugs if plug is not read)
            return cls(store=read.store_url, told=others, reducers=(*_own(read), *chosen))
        return cls(store=store, read=read, told=tuple(plugs), reducers=chosen, service=service)

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


def _parted(
    given: Sequence[AgentHistory],
) -> tuple[list[ServiceHistoryProvider], list[HistoryProvider]]:
    """Return those that a model's service is, and all others."""
    services = [each for each in given if isinstance(each, ServiceHistoryProvider)]
    plugs = [each for each in given if isinstance(each, HistoryProvider)]
    for each in given:
        if not isinstance(each, ServiceHistoryProvider | HistoryProvider):
            raise InvalidInput(f"{named(each)} is no history provider: subclass HistoryProvider")
    names = [plug.name for plug in plugs]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f"two history providers are named {name!r}; give one of them another name")
    return services, plugs


def _reducers(given: Reducer | Sequence[Reducer]) -> tuple[Reducer, ...]:
    found = listed(given, of="reducers")
    for each in found:
        if not isinstance(each, Reducer):
            raise InvalidInput(f"{named(each)} is no reducer: it has no reduce")
    return tuple(found)


def _own(history: object) -> tuple[Reducer, ...]:
    """Return the reducer that a history brings with it."""
    reducer = history.reducer if isinstance(history, InMemoryHistoryProvider) else None
    return () if reducer is None else (reducer,)


def _check_store(store: object) -> None:
    """Raise :class:`InvalidInput` unless this is a store, or the URL of one."""
    if isinstance(store, str):
        open_store(store)  # which opens nothing yet
    elif store is not None and Store not in type(store).__mro__:
        raise InvalidInput(f"{named(store)} is no store: give a URL as sqlite:///chat.db, or a store")
