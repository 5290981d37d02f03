"""Asking context providers before a run, and telling them of it: each on its own, with its state."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable
from urllib.parse import quote

from tertulia.errors import InvalidInput, ProviderError, TertuliaError
from tertulia.events import ProviderFailed
from tertulia.memory.context.apart import apart, told_of
from tertulia.memory.context.base import ContextProvider, ContextTool, RunContext
from tertulia.memory.sessions import Outcome, ProviderRun, ProviderSession
from tertulia.memory.states import USER, OpenState, States, encode_state
from tertulia.messages import Message
from tertulia.tools.base import Tool
from tertulia.tools.functions import FunctionTool

R = TypeVar("R")

Failed: TypeAlias = ProviderFailed
"""What is reported of a provider that could not do what it was asked to."""
MAX_NAME: Final = 200
"""Characters of a provider's name at most."""

_Stage: TypeAlias = Literal["before_run", "after_run"]
_Call: TypeAlias = Callable[[ProviderRun], Awaitable[R]]
_VIEWS: Final = "view:"
_ATTEMPTS: Final = 3


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
        self, providers: Sequence[ContextProvider], states: States, *, within_seconds: float = 10.0
    ) -> None:
        """Allow each call ``within_seconds``. Raises :class:`InvalidInput` as :func:`check_names` does."""
        check_names(providers)
        self._providers, self._states, self._within_seconds = tuple(providers), states, within_seconds

    async def before(self, run: RunFacts) -> tuple[list[tuple[str, RunContext]], list[Failed]]:
        """Ask all for what the model should know; return what each has, by its name, and the failures.

        Tools among it are made of functions already; who has nothing to tell is left out.
        """
        contexts: list[tuple[str, RunContext]] = []
        failures: list[Failed] = []
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

    async def after(self, run: RunFacts, outcome: Outcome) -> list[Failed]:
        """Tell all, last one first, what has become of a run; return the failures."""
        failures: list[Failed] = []
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
        the provider is called again with theirs.
        """
        for _ in range(_ATTEMPTS):
            opened = await self._opened(run, name=name)
            returned = await apart(call(opened.run(run)), within_seconds=self._within_seconds)
            if await self._are_kept(opened):
                return returned
        raise ProviderError("what it keeps was changed by others all the while; nothing of this run is kept")

    async def _opened(self, run: RunFacts, *, name: str) -> "_Opened":
        session = await self._states.open(run.tenant, run.conversation_id, name)
        if run.user is None:
            return _Opened(session=session)
        scope = user_scope(run.agent, run.user)
        return _Opened(session=session, user=await self._states.open(run.tenant, scope, name))

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
        if len(name) > MAX_NAME or not name.isprintable() or name.startswith(_VIEWS):
            raise InvalidInput(
                f"a context provider's name has at most {MAX_NAME} printable characters "
                f"and does not begin with {_VIEWS!r}"
            )
        if name in known:
            raise InvalidInput(f"two context providers are named {name!r}; give one of them another name")
        known.add(name)


def user_scope(agent: str, user: str) -> str:
    """Return the scope of what providers keep of a user in all sessions with an agent."""
    # No colon is left in the agent's name, so that no other agent and user have the same scope.
    return f"{USER}{quote(agent, safe='')}:{user}"


def as_tool(given: ContextTool) -> Tool:
    """Return a tool of a context as it is, and a function as the tool that it is made."""
    if Tool in type(given).__mro__ or not callable(given):
        return given  # type: ignore[return-value]  # what is no function is taken for a tool
    return FunctionTool(given)


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
        return _checked(await _awaited(provider.before_run(run)))

    return ask


def _telling(provider: _Learning, outcome: Outcome) -> _Call[None]:
    async def tell(run: ProviderRun) -> None:
        await _awaited(provider.after_run(run, outcome))

    return tell


async def _awaited(returned: object) -> object:
    """Return what a method of somebody else's class gives, who may have forgotten that it waits."""
    return await returned if inspect.isawaitable(returned) else returned


def _failed(name: str, stage: _Stage, error: TertuliaError) -> Failed:
    return Failed(provider=name, stage=stage, message=told_of(error, of=f"{name}.{stage}"))


def _checked(returned: object) -> RunContext | None:
    """Return a context that can be used; raises :class:`ProviderError` for what is none."""
    if returned is None:
        return None
    if not isinstance(returned, RunContext):
        raise ProviderError(f"it returned {_kind(returned)} where a RunContext or None was wanted")
    if not isinstance(returned.instructions, str):
        raise ProviderError(f"its instructions are {_kind(returned.instructions)}, and no text")
    if isinstance(returned.messages, str):
        raise ProviderError("its messages are one text; put it in a list")
    messages = tuple(returned.messages)
    for message in messages:
        if not isinstance(message, Message | str):
            raise ProviderError(f"among its messages is {_kind(message)}")
    return replace(returned, messages=messages, tools=[as_tool(tool) for tool in returned.tools])


def _kind(value: object) -> str:
    return f"an object of type {type(value).__name__}"
