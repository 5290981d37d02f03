"""Asking context providers before a run, and telling them of it: each on its own, with its state."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from random import uniform
from time import monotonic
from typing import Final, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

from tertulia.errors import InvalidInput, ProviderError, TertuliaError
from tertulia.events import ProviderFailed
from tertulia.memory.context.apart import apart, told_of
from tertulia.memory.context.base import ContextProvider, RunContext
from tertulia.memory.context.given import checked_context
from tertulia.memory.context.locks import held
from tertulia.memory.history.opened import SOURCE as HISTORY_SOURCE
from tertulia.memory.sessions import Outcome, ProviderRun, ProviderSession
from tertulia.memory.states import COPIED_SOURCE, OpenState, States, encode_state, user_scope
from tertulia.messages import Message
from tertulia.stores.states import VIEW_SOURCE

R = TypeVar("R")

MAX_NAME: Final = 200
"""Characters of a provider's name at most."""
TAKEN: Final = (VIEW_SOURCE, COPIED_SOURCE, HISTORY_SOURCE)
"""What no context provider's name begins with: states of others are kept under such names."""

_Stage: TypeAlias = Literal["before_run", "after_run"]
_Call: TypeAlias = Callable[[ProviderRun], Awaitable[R]]
_SHORTEST: Final = 0.005
_LONGEST: Final = 0.25
_LEAST: Final = 0.05
"""Part of a provider's time that must be left to ask it once more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """A run, as far as its providers are concerned."""

    id: str
    input: Message
    """What was said, and is to be answered."""
    conversation_id: str
    """Ours; names the state that providers keep of the session."""
    shown_id: str
    """The one that its creator chose, if any."""
    agent: str
    """The agent's name."""
    user: str | None = None
    tenant: int = 0


@runtime_checkable
class _Knowing(Protocol):
    """A provider that is asked before a run."""

    async def before_run(self, run: ProviderRun) -> RunContext | None: ...


@runtime_checkable
class _Learning(Protocol):
    """A provider that is told of a run."""

    async def after_run(self, run: ProviderRun, outcome: Outcome) -> None: ...


class Company:
    """The context providers of one agent, in its order.

    Whatever one of them does wrong is reported and touches nothing else: raising, taking too long,
    returning what is no context, keeping what is no JSON. Being cancelled passes through, and ends the
    provider that is at work.
    """

    def __init__(
        self,
        providers: Sequence[ContextProvider],
        states: States,
        *,
        within_seconds: float = 10.0,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Allow each provider ``within_seconds``, each time it is asked or told.

        Raises :class:`InvalidInput` as :func:`check_names` does.
        """
        check_names(providers)
        self._providers, self._states, self._within_seconds = tuple(providers), states, within_seconds
        self._pause, self._clock = pause, clock

    async def before(self, run: RunFacts) -> tuple[list[tuple[str, RunContext]], list[ProviderFailed]]:
        """Ask all for what the model should know; return what each has, by its name, and the failures.

        Tools among it are made of functions already; who has nothing to tell is left out.
        """
        contexts: list[tuple[str, RunContext]] = []
        failures: list[ProviderFailed] = []
        for provider in self._providers:
            if not isinstance(provider, _Knowing):
                continue
            name = source_of(provider)
            try:
                context = await self._call(_asking(provider), run, name=name)
            except TertuliaError as error:
                failures.append(_failed(name, "before_run", error))
            else:
                contexts += [(name, context)] if context is not None else []
        return contexts, failures

    async def after(self, run: RunFacts, outcome: Outcome) -> list[ProviderFailed]:
        """Tell all, last one first, what has become of a run; return the failures."""
        failures: list[ProviderFailed] = []
        for provider in reversed(self._providers):
            if not isinstance(provider, _Learning):
                continue
            name = source_of(provider)
            try:
                await self._call(_telling(provider, outcome), run, name=name)
            except TertuliaError as error:
                failures.append(_failed(name, "after_run", error))
        return failures

    async def _call(self, call: _Call[R], run: RunFacts, *, name: str) -> R:
        """Call a provider with its state, and keep that; raises what can be told of it.

        Where somebody else has changed the state meanwhile, as another session of the same user may,
        the provider is called again with theirs, until its time is up. Those of this process that
        meet so go on one by one; who changes nothing of a user never waits.
        """
        ends_at = self._clock() + self._within_seconds
        is_kept, returned = await self._attempt(call, run, name=name, seconds=self._within_seconds)
        if is_kept:
            return returned
        async with held((run.tenant, _scope(run), name), within_seconds=self._within_seconds / 2):
            for pause in _pauses():
                left = round(ends_at - self._clock(), 2)
                if left < self._within_seconds * _LEAST:
                    break
                is_kept, returned = await self._attempt(call, run, name=name, seconds=left)
                if is_kept:
                    return returned
                await self._pause(pause)
        raise ProviderError("what it keeps was changed by others all the while; nothing of this run is kept")

    async def _attempt(self, call: _Call[R], run: RunFacts, *, name: str, seconds: float) -> tuple[bool, R]:
        """Call a provider; return whether its state is kept, and what it returned."""
        opened = await self._opened(run, name=name)
        returned = await apart(call(opened.run(run)), within_seconds=seconds)
        return await self._are_kept(opened), returned

    async def _opened(self, run: RunFacts, *, name: str) -> "_Opened":
        session = await self._states.open(run.tenant, run.conversation_id, name)
        if run.user is None:
            return _Opened(session=session)
        return _Opened(session=session, user=await self._states.open(run.tenant, _scope(run), name))

    async def _are_kept(self, opened: "_Opened") -> bool:
        """Keep what has changed: all of it, or nothing if anything cannot be."""
        for state in opened.all():
            encode_state(state.value, source=state.source)
        # The user's first: what a session notes about having learned must not outlive what was learned.
        for state in opened.all():
            if not await self._states.keep(state):
                return False
        return True


def source_of(provider: object) -> str:
    """Return the name under which a provider's state is kept: its own, or its class's."""
    name = getattr(provider, "name", None)
    return name if isinstance(name, str) and name else type(provider).__name__


def check_names(providers: Sequence[object]) -> None:
    """Raise :class:`InvalidInput` for names that cannot be used, and for two providers of one name."""
    known: set[str] = set()
    for name in map(source_of, providers):
        if len(name) > MAX_NAME or not name.isprintable() or name.startswith(TAKEN):
            raise InvalidInput(
                f"a context provider's name has at most {MAX_NAME} printable characters "
                f"and does not begin with {', '.join(map(repr, TAKEN))}"
            )
        if name in known:
            raise InvalidInput(f"two context providers are named {name!r}; give one of them another name")
        known.add(name)


def _scope(run: RunFacts) -> str:
    """Return the scope of what a provider learns in a run: the user's, or that of the session."""
    return run.conversation_id if run.user is None else user_scope(run.agent, run.user)


def _pauses() -> Iterator[float]:
    """Return how long to wait before each further attempt: longer each time, and never all at once."""
    longest = _SHORTEST
    while True:
        yield uniform(longest / 2, longest)  # noqa: S311  # no secret
        longest = min(2 * longest, _LONGEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """A provider's states, while it is at work."""

    session: OpenState
    user: OpenState | None = None

    def all(self) -> list[OpenState]:
        return [self.session] if self.user is None else [self.user, self.session]

    def run(self, facts: RunFacts) -> ProviderRun:
        session = ProviderSession(
            id=facts.shown_id,
            agent=facts.agent,
            user=facts.user,
            tenant=facts.tenant,
            state=self.session.value,
        )
        user_state = {} if self.user is None else self.user.value
        return ProviderRun(id=facts.id, input=facts.input, session=session, user_state=user_state)


def _asking(provider: _Knowing) -> _Call[RunContext | None]:
    async def ask(run: ProviderRun) -> RunContext | None:
        return checked_context(await _awaited(provider.before_run(run)))

    return ask


def _telling(provider: _Learning, outcome: Outcome) -> _Call[None]:
    async def tell(run: ProviderRun) -> None:
        await _awaited(provider.after_run(run, outcome))

    return tell


async def _awaited(returned: object) -> object:
    """Return what a method of somebody else's class gives, who may have forgotten that it waits."""
    return await returned if inspect.isawaitable(returned) else returned


def _failed(name: str, stage: _Stage, error: TertuliaError) -> ProviderFailed:
    return ProviderFailed(provider=name, stage=stage, message=told_of(error, of=f"{name}.{stage}"))
