"""Agents of a program: made in code, asked by their own name, and never changed by being asked."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from types import TracebackType
from typing import Any, Final, Self

from typing_extensions import Unpack, override

from tertulia.agent import saving
from tertulia.agent.asked import RUN_LIMITS
from tertulia.agent.following import events_of, reply_to
from tertulia.agent.given import AgentTool, checked_context_providers, listed, names_of, sorted_tools
from tertulia.agent.histories import AgentHistory, Histories
from tertulia.agent.hosting import MEMORY, Host, ensure_open
from tertulia.agent.options import RunKeywords, Said, check_keywords, check_user
from tertulia.agent.parts import AgentParts, SupportsClosing
from tertulia.agent.replies import Reply
from tertulia.agent.session import Session
from tertulia.agent.typed_shapes import ResponseShape, TypedShape
from tertulia.agent_settings import ModelSettings, RunLimits
from tertulia.conversations import DEFAULT_TENANT
from tertulia.definitions import AgentDefinition
from tertulia.errors import InvalidInput, NotFound, SessionMismatch
from tertulia.events import Event
from tertulia.llms.base import LLM
from tertulia.llms.models import Models
from tertulia.memory.context.base import ContextProvider
from tertulia.memory.history.base import HistoryProvider
from tertulia.memory.history.service import SERVICE
from tertulia.memory.reducers.base import Reducer
from tertulia.memory.states import forget_user
from tertulia.memory.views.base import LOG
from tertulia.runtime import Runtime
from tertulia.settings import load_settings
from tertulia.stores import Store, open_store

NAME: Final = "Agent"
"""The name of agents that were given none."""
CONTEXT_TOKENS: Final = 16_000


class Agent:
    """Answers what it is told, with a model, by itself or in sessions that are never lost.

    Its sessions live in the memory of this process, or in ``store``: then they outlive it, any number
    of programs and servers may go on with them, and each turn is kept before its answer is given.
    The object holds nothing of a session; it may be used by many tasks at once, and in several event
    loops one after the other. ``await agent.close()``, or ``async with``, lets go of what it has opened;
    otherwise that happens when the event loop ends.
    """

    def __init__(  # noqa: PLR0913  # a public constructor
        self,
        llm: str | Sequence[str] | LLM | None = None,
        *,
        name: str | None = None,
        instructions: str = "",
        context: str = "",
        first_message: str | None = None,
        response_shape: ResponseShape = None,
        tools: Sequence[AgentTool] = (),
        context_providers: Sequence[ContextProvider] = (),
        history: AgentHistory | Sequence[AgentHistory] | None = None,
        reducers: Sequence[Reducer] = (),
        store: str | Store | None = None,
        limits: RunLimits | Mapping[str, object] | None = None,
        settings: ModelSettings | Mapping[str, object] | None = None,
        context_tokens: int = CONTEXT_TOKENS,
    ) -> None:
        """Make an agent; nothing is opened or asked yet.

        ``llm`` is ``provider:model``, several of them that stand in for one another, or a model itself;
        without it the model of the environment answers. ``response_shape`` is a JSON Schema, a pydantic
        model, a dataclass or a TypedDict. ``tools`` are functions, tools, or servers of tools. ``history``
        is where what was said is kept beside the log or instead of it, ``reducers`` make the part shorter
        that the model is shown. ``store`` is a URL (``sqlite:///chat.db``) or an opened store, which then
        is not closed. ``context_tokens`` is how much the model is shown at most.

        Raises :class:`~tertulia.errors.InvalidInput` for what cannot be, or cannot go together.
        """
        wanted, model = names_of(llm)
        shape = TypedShape.of(response_shape)
        toolbox, choices = sorted_tools(listed(tools, of="tools"))
        definition = AgentDefinition(
            name=name or NAME,
            context=context or "",
            first_message=first_message or "",
            response_shape=shape.text,
            instructions=instructions or "",
            model=wanted,
            settings=settings if isinstance(settings, ModelSettings) else ModelSettings.parse(settings or {}),
            limits=limits if isinstance(limits, RunLimits) else RunLimits.parse(limits or {}),
        ).checked()
        models = Models(_default_model() if wanted is None else "")
        if model is None:
            models.check(wanted)
        self._shape = shape
        parts = AgentParts(
            definition=definition,
            shape=shape,
            is_named=name is not None,
            llm=model,
            models=models,
            toolbox=toolbox,
            choices=choices,
            context_providers=checked_context_providers(listed(context_providers, of="context_providers")),
            histories=Histories.of(history, store=store, reducers=reducers),
            limits=RUN_LIMITS,
            context_tokens=context_tokens,
        ).checked()
        self._parts = parts if name is not None or (store is None and history is None) else parts.named()
        self._host = Host(self._parts, self._parts.histories.store)
        is_plain = self._host.memory is not None and not self._parts.histories.is_elsewhere
        self._aside = self._host if is_plain else Host(self._parts.aside(), MEMORY)

    @classmethod
    async def load(cls, agent: str, *, store: str | Store) -> Self:
        """Return an agent that is stored, by its name or id, as it stands there now.

        Raises :class:`~tertulia.errors.NotFound`, and :class:`InvalidInput` if it has tools or context
        providers, which belong to its program or installation.
        """
        opened = open_store(store) if isinstance(store, str) else store
        await ensure_open(opened)
        try:
            definition = (await opened.agents.get(DEFAULT_TENANT, agent)).definition
        finally:
            if isinstance(store, str):
                await opened.close()
        if definition.program or definition.tools or definition.context_providers:
            raise InvalidInput(
                f"the agent {definition.name!r} needs what its program or server has: tools, or context "
                "providers; make it in code, or ask it over HTTP"
            )
        return cls(
            definition.model,
            name=definition.name,
            instructions=definition.instructions,
            context=definition.context,
            first_message=definition.first_message,
            response_shape=definition.response_shape or None,
            store=store,
            limits=definition.limits,
            settings=definition.settings,
        )

    @property
    def name(self) -> str:
        """Its name, by which its sessions are found again."""
        return self._parts.definition.name

    @property
    def definition(self) -> AgentDefinition:
        """What of it can be stored."""
        return self._parts.stored

    @property
    def parts(self) -> AgentParts:
        """What it is made of, for who carries out its runs elsewhere."""
        return self._parts

    @property
    def digest(self) -> str:
        """Digest of what shapes its answers: instructions, shape, tools, providers; not its model."""
        return self._parts.digest

    @property
    def is_named(self) -> bool:
        """Whether it was given a name."""
        return self._parts.is_named

    @property
    def is_linked(self) -> bool:
        """Whether its model's service keeps its history."""
        return self._parts.histories.service is not None

    @property
    def histories(self) -> tuple[HistoryProvider, ...]:
        """The history providers that are told what was said."""
        return self._parts.histories.told

    @property
    def read_history(self) -> HistoryProvider | None:
        """The history provider that is read instead of the log, if there is one."""
        return self._parts.histories.read

    @property
    def history_owner(self) -> str:
        """Who keeps the history of its sessions: ``log``, ``service``, or a provider's name."""
        histories = self._parts.histories
        if histories.service is not None:
            return SERVICE
        return LOG if histories.read is None else histories.read.name

    @property
    def reads_log(self) -> bool:
        """Whether its history is the log, and not what another provider keeps."""
        return self._parts.histories.read is None

    def session_of(self, id: str, *, conversation_id: str, user: str | None) -> Session:
        """Return a session that was there before, with the id of its conversation."""
        session = Session(self, self._host, id=id, user=user)
        session.conversation_id, session.is_restored = conversation_id, True
        return session

    def create_session(self, id: str | None = None, *, user: str | None = None) -> Session:
        """Return a session; what is said in it is kept from the first run on.

        With the ``id`` of an earlier one in the same store, that one goes on. ``user`` is whose session
        it is: what context providers know of that user is theirs. Raises :class:`InvalidInput` for an
        id that cannot be one; that it is another user's or agent's is told when it is first used.
        """
        return Session(self, self._host, id=id, user=user)

    def restore_session(self, saved: Mapping[str, Any] | str, *, force: bool = False) -> Session:
        """Return the session that :meth:`Session.to_dict` has told, or its JSON text.

        Raises :class:`~tertulia.errors.SessionMismatch` if it is that of another agent, unless forced,
        and :class:`InvalidInput` for what is no session. That the agent of this name is configured
        otherwise than it was is only warned of. One that was saved without a store goes into this agent's
        when it is first used; one that is in a store is refused if this agent has none.
        """
        return saving.restored(self, self._host, saved, force=force)

    def restore_signed(self, token: str | None, key: bytes | str, *, force: bool = False) -> Session:
        """Return the session that :meth:`Session.sign` has told, if the token is whole and not too old.

        Raises :class:`~tertulia.errors.NotAuthorized` otherwise, and as :meth:`restore_session` does.
        """
        return self.restore_session(saving.unsigned(token, key), force=force)

    async def run(
        self, said: Said, *, session: Session | None = None, **options: Unpack[RunKeywords]
    ) -> Reply:
        """Return the answer to what is said, in a session or by itself.

        What was said stays in the session whatever happens, but for one thing: behind a run that waits for
        a decision it is not taken in. Cancelling the call cancels the run. Without a session nothing is
        kept. Raises what the model raises, ``ShapeMismatch``, ``BudgetExceeded``,
        :class:`~tertulia.errors.NeedsAttention` when somebody has to decide first (see :meth:`decide`).
        """
        async with aclosing(self._events(said, session, options, deltas=False)) as events:
            return await reply_to(events)

    async def run_stream(
        self, said: Said, *, session: Session | None = None, **options: Unpack[RunKeywords]
    ) -> AsyncGenerator[Event, None]:
        """Yield what happens while the answer comes; the last is an ``AgentRunFinished`` with the reply.

        Whoever leaves the loop stops the run: what was said and what is finished stays, the session is
        free. Raises as :meth:`run` does.
        """
        async with aclosing(self._events(said, session, options, deltas=True)) as events:
            async for event in events:
                yield event

    async def decide(
        self, run_id: str, verdict: str, value: object = None, *, path: str | None = None
    ) -> Reply:
        """Let a run go on that waits for a decision (``NeedsAttention.run_id``), and return its answer.

        ``verdict`` is ``approve`` or ``deny`` for the use of a tool; others stand in the error of a wrong
        one. Raises as :meth:`run` does, :class:`~tertulia.errors.NotFound` and ``NotWaiting``.
        """
        runtime = await self._runtime_of(run_id)
        ticket = await runtime.decide(run_id, verdict=verdict, value=value, path=path)
        async with aclosing(events_of(runtime, ticket, self._shape, within_seconds=None)) as events:
            return await reply_to(events)

    async def retry(self, run_id: str) -> Reply:
        """Answer once more what a failed run was asked, in its place; raises as :meth:`run` does."""
        runtime = await self._runtime_of(run_id)
        ticket = await runtime.retry(run_id)
        async with aclosing(events_of(runtime, ticket, self._shape, within_seconds=None)) as events:
            return await reply_to(events)

    async def forget_user(self, user: str) -> int:
        """Take away what context providers keep of a user in all sessions; return how many states that were.

        What they keep of single sessions goes with these, and what they keep elsewhere is theirs.
        """
        check_user(user)
        runtime = await self._host.runtime()
        states = runtime.store.states
        return await forget_user(states, tenant=DEFAULT_TENANT, agent=self.name, user=user)

    async def close(self) -> None:
        """Let go of everything that was opened; it opens again when it is asked again."""
        parts = self._parts
        async with AsyncExitStack() as closing:  # the last first, and all of them, whatever one raises
            closing.push_async_callback(parts.models.close)
            closing.push_async_callback(parts.toolbox.close)
            for plug in (*parts.context_providers, *parts.histories.told, *parts.histories.reducers):
                if isinstance(plug, SupportsClosing):
                    closing.push_async_callback(plug.close)
            for host in {self._host, self._aside}:
                closing.push_async_callback(host.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @override
    def __repr__(self) -> str:
        return f"Agent({self._parts.model_name!r}, name={self.name!r})"

    async def _runtime_of(self, run_id: str) -> Runtime:
        """Return what carries a run out: that of the sessions, or else that of runs without one."""
        runtime = await self._host.runtime()
        try:
            await runtime.store.runs.get(DEFAULT_TENANT, run_id)
        except NotFound:
            return await self._aside.runtime()
        return runtime

    async def _events(
        self, said: Said, session: Session | None, options: RunKeywords, *, deltas: bool
    ) -> AsyncGenerator[Event, None]:
        check_keywords(options)
        if session is not None and not isinstance(session, Session):
            raise InvalidInput("a session is made by create_session() or restore_session()")
        own = session or Session(self, self._aside, id=None, user=options.get("user"))
        if own.agent is not self:
            raise SessionMismatch(
                f"this session is one of {own.agent!r}, not of {self!r}; restore it with this one"
            )
        async with aclosing(own.events(said, options, self._shape, deltas=deltas)) as events:
            async for event in events:
                yield event


def _default_model() -> str:
    return load_settings().default_model
