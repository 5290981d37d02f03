"""Sessions: conversations of a program with one of its agents."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import Unpack, override

from tertulia import ids
from tertulia.agent import saving
from tertulia.agent.following import attention, cancel_accepted, events_of
from tertulia.agent.hosting import Host
from tertulia.agent.options import RunKeywords, Said, check_user, messages_of, options_of, said_of
from tertulia.agent.replies import AgentRunFinished, Reply
from tertulia.agent.typed_shapes import TypedShape
from tertulia.conversations import DEFAULT_TENANT, Conversation, NewConversation
from tertulia.engine import Ticket
from tertulia.engine.holding import holder_of
from tertulia.errors import InvalidInput, NeedsAttention, NotFound, SessionMismatch
from tertulia.events import Event
from tertulia.memory.history.opened import HistorySessions
from tertulia.memory.sessions import ProviderSession
from tertulia.memory.states import States
from tertulia.memory.tokens import tokens_of
from tertulia.messages import Flag, Message
from tertulia.per_loop import PerLoop
from tertulia.runtime import RunOptions, Runtime, check_alias
from tertulia.turn.copying import forget, load
from tertulia.turn.linking import check_history, service_id

if TYPE_CHECKING:
    from tertulia.agent.agent import Agent

_PAGE: Final = 500


class Session:
    """A conversation with an agent: everything that was said in it, wherever that is kept.

    :meth:`Agent.create_session` makes one. The object itself holds next to nothing: two objects, or two
    programs, with the same session go on with the same conversation, one run after the other.
    """

    def __init__(self, agent: "Agent", host: Host, *, id: str | None, user: str | None) -> None:
        """Use :meth:`Agent.create_session`."""
        own = id is None or ids.is_id(id, prefix=ids.CONVERSATION)
        if id is not None and not isinstance(id, str):
            raise InvalidInput("the id of a session is a text")
        check_user(user)
        self._agent, self._host, self.user = agent, host, user
        self.alias = None if own else check_alias(id or "")
        made = id if own and id else ids.new_id(ids.CONVERSATION)
        self._hold = host.hold(self.alias or made, made)
        self._state: str | None = None
        self._agent_id: str | None = None
        self._settling = PerLoop(asyncio.Lock)
        self._is_new, self._is_settled = id is None, False
        """Whether it is known whose conversation it is."""
        self.is_begun = False
        """Whether something was said in it that is kept in a store."""
        self.is_restored = False
        """Whether it was another object before, of this agent or of one that it stands in for."""
        self.unsettled: saving.SavedSession | None = None
        """What it was restored from and is not where its runs look for it yet."""
        self.told_service_id: str | None = None
        """What it was restored with, until a run has said it anew."""

    @property
    def agent(self) -> "Agent":
        """Whose session it is."""
        return self._agent

    @property
    def id(self) -> str:
        """The id that was chosen for it, or its conversation's."""
        return self.alias or self.conversation_id

    @property
    def conversation_id(self) -> str:
        """Our id of its conversation; in a store it is known only after the first run if an id was chosen."""
        return self._hold.conversation_id

    @conversation_id.setter
    def conversation_id(self, found: str) -> None:
        if not ids.is_id(found, prefix=ids.CONVERSATION):
            raise InvalidInput("this is no id of a conversation")
        self._hold.conversation_id = found

    @property
    def service_session_id(self) -> str | None:
        """The id under which the model's service has it, as of the last run here; ``None`` if it has not."""
        return service_id(self._state) or self.told_service_id

    async def messages(self) -> list[Message]:
        """Return everything that was said, oldest first; what was erased has no content.

        Where the history is kept by a provider, and the log in the memory of this process only, what
        the provider has comes first, without numbers: those of the log begin anew.
        """
        said = await self._log()
        provider = self._agent.read_history
        if provider is None or self._host.is_kept:
            return said
        runtime, found = await self._found()
        if found is None:
            told = ProviderSession(id=self.id, agent=self._agent.name, user=self.user)
            loaded = await load(provider, nullcontext(told))
        else:
            sessions = HistorySessions(States(runtime.store.states), self._agent.name)
            loaded = await load(provider, sessions.opened(found, of=provider))
        known = {message.id for message in said}  # the log knows what was erased since
        return [*(replace(message, number=0) for message in loaded if message.id not in known), *said]

    async def append(self, messages: Sequence[Message | str] | Message | str) -> None:
        """Put messages at the end that were said elsewhere; texts are the user's. No answer is asked for.

        A message whose id stands in it already is left out. Raises
        :class:`~tertulia.errors.ConversationBusy` while a run is under way, and ``ConversationClosed``.
        """
        given = messages_of(messages)
        runtime, conversation = await self._made()
        tokens = [tokens_of(message.content) for message in given]
        await runtime.store.conversations.append(DEFAULT_TENANT, conversation.id, given, tokens=tokens)

    async def replace(self, messages: Sequence[Message | str] | Message | str) -> None:
        """Put these messages in the place of all that was said.

        Only where the session lives in the memory of this process: what is stored is never rewritten,
        use :meth:`withdraw`, :meth:`edit` and :meth:`append` there. Raises ``InvalidInput`` otherwise,
        and :class:`~tertulia.errors.ConversationBusy` while a run is under way.
        """
        memory = self._host.memory
        if self._agent.read_history is not None:
            raise InvalidInput("what a history provider keeps is not rewritten: begin another session")
        if memory is None:
            raise InvalidInput(
                "what is stored is not rewritten: withdraw messages, edit (which makes a branch), or append"
            )
        given = messages_of(messages)
        _, conversation = await self._made()
        taken = memory.take(DEFAULT_TENANT, conversation.id)
        saving.put(memory, taken, given)

    async def withdraw(self, *which: int | str) -> None:
        """Have models shown these messages no more, named by number or id; they stay in the log.

        Raises ``InvalidInput`` if none is named, and ``NotFound`` for one that is not in the session.
        History providers that can are made to forget them; of others the ``ProviderError`` says so.
        """
        await self._mark(which, Flag.WITHDRAWN)

    async def erase(self, *which: int | str) -> None:
        """Erase the content of these messages for good, named by number or id; their numbers stay.

        Raises ``InvalidInput`` if none is named, and ``NotFound`` for one that is not in the session.
        History providers that can are made to forget them; of others the ``ProviderError`` says so. What
        they keep of branches that share these messages is theirs: erase it in each branch.
        """
        await self._mark(which, Flag.DELETED)

    async def fork(self, at: int | None = None, *, id: str | None = None) -> "Session":
        """Return a session that begins with the first ``at`` messages of this one (all, if not given).

        They share these and go their own ways. It costs the same however long the session is.
        """
        runtime, found = await self._found()
        if found is None:
            raise NotFound("nothing was said in this session yet; there is nothing to fork")
        made = await runtime.fork(found.id, at=at, alias=id)
        fork = Session(self._agent, self._host, id=id or made.id, user=self.user)
        fork.conversation_id, fork.is_restored = made.id, self.is_restored
        return fork

    async def edit(self, number: int, said: Said, **options: Unpack[RunKeywords]) -> tuple["Session", Reply]:
        """Say something else in the place of message ``number``; return the branch, and the answer there.

        This session stays as it is.
        """
        if not any(each.number == number and each.role == "user" for each in await self._log()):
            raise InvalidInput("only what a user has said can be said anew; fork the session for the rest")
        branch = await self.fork(number - 1)
        return branch, await self._agent.run(said, session=branch, **options)

    async def close(self, reason: str = "it was closed") -> None:
        """Have it take no further message until it is opened again."""
        runtime, conversation = await self._made()
        await runtime.store.conversations.set_closed(DEFAULT_TENANT, conversation.id, reason)

    async def reopen(self) -> None:
        """Have it take messages again."""
        runtime, conversation = await self._made()
        await runtime.store.conversations.set_closed(DEFAULT_TENANT, conversation.id, None)

    async def waiting(self) -> NeedsAttention | None:
        """Return what somebody has to decide before the session goes on; ``None`` if there is nothing.

        Its ``run_id`` is for :meth:`Agent.decide`; it says what it is about and what can be decided.
        """
        runtime, found = await self._found()
        holder = None if found is None else await holder_of(runtime.store, found)
        return None if holder is None or holder.wait is None else attention(holder.id, holder.wait)

    def to_dict(self) -> dict[str, Any]:
        """Return what it takes to go on with it elsewhere or later, as JSON values.

        That is little if it is stored, and everything that was said if it lives in this process only;
        state of context providers goes with it. Nothing in it is secret that was not said.
        """
        return saving.saved(self, self._host)

    @classmethod
    def from_dict(cls, saved: dict[str, Any], *, agent: "Agent", force: bool = False) -> "Session":
        """Return the session that :meth:`to_dict` has told, as :meth:`Agent.restore_session` does."""
        return agent.restore_session(saved, force=force)

    def sign(
        self,
        key: bytes | str,
        *,
        expires_seconds: float | None = None,
        max_bytes: int = 2 * saving.MOST_BYTES,
    ) -> str:
        """Return :meth:`to_dict` as a text that can be given to whoever is not trusted, to be given back.

        It can be read there, not changed, and after ``expires_seconds`` not used any more
        (:meth:`Agent.restore_signed`). Raises ``InvalidInput`` if it is larger than ``max_bytes``: what
        fits into a cookie is 4,000, which only a session in a store keeps to.
        """
        told = self.to_dict()
        return saving.signed(told, key, expires_seconds=expires_seconds, max_bytes=max_bytes)

    async def events(
        self, said: Said, options: RunKeywords, shape: TypedShape, *, deltas: bool
    ) -> AsyncGenerator[Event, None]:
        """Yield the events of a run in it; :meth:`Agent.run_stream` is for that."""
        runtime = await self._settled()
        asked = options_of(options, deltas=deltas)
        user = await self._checked_user(runtime, options.get("user"), moves_history=asked.moves_history)
        ticket = await self._submit(runtime, said, asked, user=user)
        self.conversation_id = ticket.conversation.id
        seconds = options.get("timeout")
        async with aclosing(events_of(runtime, ticket, shape, within_seconds=seconds)) as events:
            async for event in events:
                if isinstance(event, AgentRunFinished) and self._agent.is_linked:
                    row = await runtime.store.conversations.get(DEFAULT_TENANT, ticket.conversation.id)
                    self._state, self.told_service_id = row.state, None
                yield event

    async def _checked_user(
        self, runtime: Runtime, user: str | None, *, moves_history: bool = True
    ) -> str | None:
        """Return whose session it is, or will be; raises ``InvalidInput`` if it is somebody else's.

        Unless a run ``moves_history``, raises ``SessionMismatch`` before anything is accepted if the
        history of the session is kept elsewhere than where this agent looks for it.
        """
        row: Conversation | None = None
        if not self._is_settled and not self._is_new:
            with self._missing():
                row = await runtime.store.conversations.get(DEFAULT_TENANT, self.id)
        if row is not None:
            await self._check_whose(runtime, row)
            if not moves_history:
                log, owner = runtime.store.conversations, self._agent.history_owner
                await check_history(row, owner=owner, log=log, upto=row.head)
            self._is_settled, self._agent_id = True, row.agent_id if self.is_restored else None
            self.user = row.user_id
        if user is not None and user != self.user and (self._is_settled or self.user is not None):
            raise InvalidInput("this session is another user's, or nobody's; create one for each user")
        return self.user or user

    async def _check_whose(self, runtime: Runtime, row: Conversation) -> None:
        if self.user not in {None, row.user_id}:
            raise SessionMismatch("there is a session with this id, and it is another user's")
        if not self.is_restored:  # otherwise it was checked then, or forced
            agent = await runtime.store.agents.get(DEFAULT_TENANT, row.agent_id)
            if agent.definition.name != self._agent.name:
                raise SessionMismatch("there is a session with this id, and it is another agent's")

    @contextmanager
    def _missing(self) -> Iterator[None]:
        """Let a conversation not be there, unless something was said in it before."""
        try:
            yield
        except NotFound:
            if self.is_begun:
                raise NotFound(
                    "the store has nothing of this session; give the agent the store that it was kept in"
                ) from None

    async def _submit(self, runtime: Runtime, said: Said, options: RunOptions, *, user: str | None) -> Ticket:
        agent_id = self._agent_id or (await self._host.agent()).id
        new = NewConversation(id=self.conversation_id, agent_id=agent_id, alias=self.alias, user_id=user)
        accepting = runtime.submit(said_of(said), conversation=new, options=options)
        submitting = asyncio.ensure_future(accepting)
        try:
            ticket = await asyncio.shield(submitting)
        except asyncio.CancelledError:
            await cancel_accepted(runtime, submitting)
            raise
        self._is_settled, self.user = True, ticket.conversation.user_id
        self.is_begun = self._host.is_kept
        return ticket

    async def _settled(self) -> Runtime:
        """Return what runs are submitted to; what this was restored from is where they look for it then."""
        runtime = await self._host.runtime()
        if self.unsettled is not None:
            async with self._settling.get():  # whoever comes second waits until all of it is there
                await self._settle(runtime)
        return runtime

    async def _settle(self, runtime: Runtime) -> None:
        kept = self.unsettled
        if kept is None:
            return
        if self._host.memory is None:
            await self._check_own(runtime)
            await saving.put_in_store(runtime.store, await self._make(runtime), kept)
        else:
            agent = await self._host.agent()
            if not self._host.has(self.conversation_id):
                self._host.memory.put_in(kept.taken(self, agent.id))
        self.unsettled = None

    async def _check_own(self, runtime: Runtime) -> None:
        """Raise ``SessionMismatch`` if the store has another conversation under the id that was chosen."""
        with suppress(NotFound):
            there = await runtime.store.conversations.get(DEFAULT_TENANT, self.id)
            if there.id != self.conversation_id:
                raise SessionMismatch(f"there is another session with the id {self.id!r} in the store")

    async def _log(self) -> list[Message]:
        """Return what stands in the log."""
        runtime, found = await self._found()
        said: list[Message] = []
        while found is not None and len(said) < found.head:
            page = await runtime.store.conversations.messages(
                DEFAULT_TENANT, found.id, after=said[-1].number if said else 0, limit=_PAGE
            )
            if not page:
                break
            said += page
        return said

    async def _found(self) -> tuple[Runtime, Conversation | None]:
        runtime, found = await self._settled(), None
        await self._checked_user(runtime, self.user)
        with self._missing():
            found = await runtime.store.conversations.get(DEFAULT_TENANT, self.id)
            self.is_begun = self._host.is_kept
        return runtime, found

    async def _made(self) -> tuple[Runtime, Conversation]:
        """Return its conversation, which is made if nothing was said yet."""
        runtime = await self._settled()
        return runtime, await self._make(runtime)

    async def _make(self, runtime: Runtime) -> Conversation:
        user = await self._checked_user(runtime, self.user)
        agent_id = self._agent_id or (await self._host.agent()).id
        new = NewConversation(id=self.conversation_id, agent_id=agent_id, alias=self.alias, user_id=user)
        made = await runtime.store.conversations.create(DEFAULT_TENANT, new)
        self.conversation_id, self.is_begun = made.id, self._host.is_kept
        return made

    async def _mark(self, which: Sequence[int | str], flag: Flag) -> None:
        if not which or not all(isinstance(each, int | str) for each in which):
            raise InvalidInput("name messages by their numbers, or by their ids")
        log = {message.number: message.id for message in await self._log()}
        await self._check_there(which, log)
        runtime, found = await self._made()
        numbers = [number for number, ident in log.items() if number in which or ident in which]
        ids = {log[number] for number in numbers} | {each for each in which if isinstance(each, str)}
        if numbers:
            found = await runtime.store.conversations.mark(DEFAULT_TENANT, found.id, numbers, flag)
        sessions = HistorySessions(States(runtime.store.states), self._agent.name)
        await forget(self._agent.histories, found, sorted(ids), sessions=sessions, marked=numbers)

    async def _check_there(self, which: Sequence[int | str], log: Mapping[int, str]) -> None:
        """Raise ``NotFound`` for messages that are neither in the log nor where the history is kept."""
        unknown = set(which) - log.keys() - set(log.values())
        if any(isinstance(each, str) for each in unknown):
            unknown -= {message.id for message in await self.messages()}
        if unknown:
            raise NotFound(f"there is no message {min(map(str, unknown))[:100]} in this session")

    @override
    def __repr__(self) -> str:
        return f"Session({self.id!r}, agent={self._agent.name!r})"
