"""Old context providers among ours: who is asked for which thread, and with what state."""

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, runtime_checkable

import orjson
from typing_extensions import override

from tertulia import ContextProvider as OurProvider
from tertulia import RunContext
from tertulia.compat.agent_framework.context import Context
from tertulia.compat.agent_framework.context import ContextProvider as OldProvider
from tertulia.compat.agent_framework.messages import chat_message_of, message_of, plain
from tertulia.errors import InvalidInput, ProviderError
from tertulia.memory.sessions import Outcome, ProviderRun

if TYPE_CHECKING:
    from tertulia.compat.agent_framework.threads import AgentThread

Given: TypeAlias = OldProvider | OurProvider | Callable[[], OldProvider]
"""A provider for all threads, or what makes one for each; ours go with them."""
_RUNS: Final = 50


@runtime_checkable
class _Asked(Protocol):
    async def invoking(self, messages: Any, **kwargs: Any) -> Context: ...  # noqa: ANN401  # theirs


@runtime_checkable
class _Ours(Protocol):
    async def before_run(self, run: ProviderRun) -> RunContext | None: ...


@runtime_checkable
class _SupportsState(Protocol):
    def serialize(self) -> Any: ...  # noqa: ANN401  # JSON, or to be awaited

    def deserialize(self, state: Any) -> Any: ...  # noqa: ANN401  # JSON


@dataclass(slots=True)
class Seat:
    """One of an agent's old context providers: itself, or what makes one for each thread."""

    name: str
    make: Callable[[], OldProvider] | None
    """Makes one for a thread; ``None`` if there is one for all."""
    shared: OldProvider | None = None
    first: str | None = None
    """The first thread that the shared one has served."""
    is_shared: bool = False
    """Whether it has served a second one."""
    noted: bytes = field(default=b"", repr=False)
    """What it had noted down on itself when the agent was made."""

    @classmethod
    def of(cls, given: OldProvider | Callable[[], OldProvider], *, name: str) -> "Seat":
        """Return a seat; raises :class:`~tertulia.errors.InvalidInput` for what is no provider."""
        if not isinstance(given, type) and isinstance(given, _Asked):
            return cls(name, None, shared=given, noted=_notes(given))
        if not callable(given):
            raise InvalidInput(
                f"{type(given).__name__} is no context provider: it has no method invoking(), nor is it a "
                "function that makes one"
            )
        return cls(name, given)

    def provider(self) -> OldProvider:
        """Return the provider of a new thread."""
        if self.make is None:
            assert self.shared is not None  # noqa: S101  # one of both is there
            return self.shared
        made = self.make()
        if not isinstance(made, _Asked):
            raise InvalidInput(f"{self.name} has made no context provider: it has no method invoking()")
        return made

    def serve(self, thread_id: str) -> None:
        """Note that a thread is served; warn if one object learns from several."""
        if self.shared is None or self.is_shared or self.first == thread_id:
            return
        if self.first is None:
            self.first = thread_id
            return
        self.is_shared = True
        if isinstance(self.shared, _SupportsState) or _notes(self.shared) != self.noted:
            warnings.warn(
                f"one {self.name} serves several threads, and what it has learnt in one of them it tells in "
                "the others; give the agent what makes one for each thread instead: its class, or a function",
                UserWarning,
                stacklevel=4,
            )


class Invoking(OurProvider):
    """Asks the provider that a thread has in one of its agent's seats."""

    def __init__(self, seat: Seat, threads: Mapping[str, "AgentThread"]) -> None:
        self._seat, self._threads = seat, threads

    @property
    @override
    def name(self) -> str:
        return self._seat.name

    @override
    async def before_run(self, run: ProviderRun) -> RunContext | None:
        provider = self._of(run)
        if not run.state.get("created"):
            run.state["created"] = True
            await provider.thread_created(self._threads[run.session.id].id)
        context = await provider.invoking([chat_message_of(run.input)])
        if context is None:
            return None
        return RunContext(
            instructions=context.instructions or "",
            messages=[message_of(each) for each in context.messages],
            tools=context.tools,
        )

    @override
    async def after_run(self, run: ProviderRun, outcome: Outcome) -> None:
        told = run.state.get("runs") or []
        if run.id in told:
            return
        await self._of(run).invoked(
            [chat_message_of(message) for message in outcome.request],
            [chat_message_of(message) for message in outcome.response] or None,
            invoke_exception=outcome.error,
        )
        run.state["runs"] = [*told, run.id][-_RUNS:]

    def _of(self, run: ProviderRun) -> OldProvider:
        thread = self._threads.get(run.session.id)
        if thread is None:
            raise ProviderError("the thread of this run is gone, and its context provider with it")
        return thread.providers[self._seat.name]


def seated(given: Given | Sequence[Given] | None) -> list[Seat | OurProvider]:
    """Return the providers of an agent, one or several, in their order; ours as they are.

    Raises :class:`~tertulia.errors.InvalidInput` for what is none.
    """
    several = [] if given is None else list(given) if isinstance(given, Sequence) else [given]
    found: list[Seat | OurProvider] = []
    names: dict[str, int] = {}
    for each in several:
        if not isinstance(each, type) and isinstance(each, _Ours):
            found.append(each)
            continue
        name = getattr(each, "__name__", type(each).__name__)
        names[name] = names.get(name, 0) + 1
        number = f"-{names[name]}" if names[name] > 1 else ""
        found.append(Seat.of(each, name=f"{name}{number}"))
    return found


async def saved_states(seats: Sequence[Seat], providers: Mapping[str, OldProvider]) -> dict[str, Any]:
    """Return what a thread's providers know, by their names; nothing of those that others share."""
    states: dict[str, Any] = {}
    for seat in seats:
        provider = providers[seat.name]
        if isinstance(provider, _SupportsState) and not seat.is_shared:
            state = await _awaited(provider.serialize())
            states[seat.name] = plain(state, what=f"the state of {seat.name}")
    return states


async def restore_states(
    seats: Sequence[Seat], providers: dict[str, OldProvider], states: Mapping[str, Any], *, thread_id: str
) -> None:
    """Give providers back what they have known; a shared one that serves another thread keeps its own."""
    for seat in seats:
        provider = providers[seat.name]
        is_free = seat.shared is None or seat.first in (None, thread_id)
        if seat.name in states and isinstance(provider, _SupportsState) and is_free and not seat.is_shared:
            made = await _awaited(provider.deserialize(states[seat.name]))
            if isinstance(made, OldProvider):  # a class's own way to make one
                providers[seat.name] = made


async def _awaited(returned: Any) -> Any:  # noqa: ANN401  # theirs
    return await returned if inspect.isawaitable(returned) else returned


def _notes(provider: object) -> bytes:
    """Return the plain values that an object holds, so that it can be seen whether they change."""
    try:
        return orjson.dumps(
            getattr(provider, "__dict__", {}), default=_nothing, option=orjson.OPT_NON_STR_KEYS
        )
    except TypeError:
        return b""


def _nothing(value: object) -> object:
    return sorted(map(str, value)) if isinstance(value, set) else None
