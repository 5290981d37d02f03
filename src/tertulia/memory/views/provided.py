"""The view of a history that a provider keeps: its newest part that fits, after an anchor that stays."""

from collections import OrderedDict
from collections.abc import Awaitable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias, TypeVar, runtime_checkable

from typing_extensions import override

from tertulia.conversations import Conversation
from tertulia.errors import ContextTooLong, ProviderError, TertuliaError
from tertulia.llms.base import Shown
from tertulia.memory.history.base import HistoryProvider, SupportsRecent
from tertulia.memory.history.opened import HistorySessions
from tertulia.memory.pairing import Pairing
from tertulia.memory.reducers.base import Reducer
from tertulia.memory.sessions import ProviderSession
from tertulia.memory.states import States
from tertulia.memory.tokens import tokens_of
from tertulia.memory.transcript import Passage, Transcript
from tertulia.memory.views.anchored import begin
from tertulia.memory.views.base import Pay, View, at_once
from tertulia.memory.views.log import Log
from tertulia.messages import Flag, Message
from tertulia.stores.base import StateStore

T = TypeVar("T")
_Key: TypeAlias = tuple[int, str, int]
"""Tenant, conversation and budget."""

_PAGE: Final = 64
_LOG_PAGE: Final = 500
_HIDDEN: Final = Flag.WITHDRAWN | Flag.DELETED


@runtime_checkable
class _AsksModel(Protocol):
    """See :class:`~tertulia.memory.reducers.base.CostlyReducer`."""

    def is_due(self, messages: list[Message]) -> bool: ...


@dataclass(slots=True)
class _Kept:
    """What was shown of one conversation, and what a reducer has made of it."""

    version: int
    anchor: str | None = None
    messages: list[Message] = field(default_factory=list)
    """Those that are shown, from the anchor on."""
    shown: Transcript = field(default_factory=Transcript)
    pairing: Pairing = field(default_factory=Pairing)
    reduced: list[Message] = field(default_factory=list)
    last: str | None = None
    """Id of the last message that ``reduced`` stands for."""
    hidden: frozenset[str] | None = None
    """Ids of what was withdrawn or erased in the log; ``None`` as long as that is not known."""


class ProvidedView(View):
    """Shows what a history provider has of a conversation, and after it what only the log has so far.

    Where the history begins is kept in mind here, for so many conversations at most; a process that has
    just started may choose another beginning. A reducer is given everything that the provider has, once,
    and after that what has come in.
    """

    def __init__(
        self,
        provider: HistoryProvider,
        *,
        agent: str,
        reducer: Reducer | None = None,
        log: Log | None = None,
        states: StateStore | None = None,
        most_kept: int = 256,
    ) -> None:
        """Show what the provider has, but for what was withdrawn or erased in the ``log``.

        What the provider keeps of its sessions is kept in ``states``.
        """
        self._provider, self._agent, self._reducer, self._log = provider, agent, reducer, log
        self._sessions = None if states is None else HistorySessions(States(states), agent)
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._most_kept = most_kept

    @property
    @override
    def owner(self) -> str:
        return self._provider.name

    @override
    async def show(  # everything that decides what is shown
        self,
        conversation: Conversation,
        *,
        newest: Sequence[Message],
        budget: int,
        most: int | None = None,
        opening: tuple[Shown, ...] = (),
        pay: Pay = at_once,
    ) -> Passage:
        kept = self._of((conversation.tenant, conversation.id, budget), conversation.version)
        if kept.hidden is None:
            kept.hidden = await self._hidden_in(conversation)
        said = [message for message in newest if message.number <= conversation.head]
        async with self._opened(conversation) as session:
            if self._reducer is None:
                messages = await self._read(session, kept, said, budget=budget)
            else:
                messages = await self._reduced(session, kept, said, reducer=self._reducer, pay=pay)
        tokens = _choose(kept, messages, budget=budget)
        most = max(most or budget, budget)
        if tokens > most:
            raise ContextTooLong(
                f"the newest message does not fit: there is room for about {most} tokens; "
                "send less, or let the model be shown more (TERTULIA_CONTEXT_TOKENS)"
            )
        return kept.shown.passage(opening=opening, tokens=tokens).then(kept.pairing.lacking())

    @override
    def learn(self, conversation: Conversation, said: Sequence[Message], *, budget: int) -> None:
        """Take in nothing: what the provider was given is asked for again."""

    def _of(self, key: _Key, version: int) -> _Kept:
        """Return what is kept of a conversation in which nothing was marked since."""
        kept = self._kept.pop(key, None)
        if kept is None or kept.version != version:
            kept = _Kept(version=version)
        self._kept[key] = kept
        while len(self._kept) > self._most_kept:
            self._kept.popitem(last=False)
        return kept

    async def _read(
        self, session: ProviderSession, kept: _Kept, said: Sequence[Message], *, budget: int
    ) -> list[Message]:
        """Return the end of the history, as far back as it could be shown."""
        limit = max(_PAGE, len(kept.messages) + _PAGE)
        while True:
            loaded, is_whole = await self._newest(session, limit)
            messages = _joined(loaded, said, hidden=kept.hidden)
            reaches = any(message.id == kept.anchor for message in loaded)
            if is_whole or reaches or _is_more_than(budget, messages):
                return messages
            limit *= 2

    async def _reduced(
        self,
        session: ProviderSession,
        kept: _Kept,
        said: Sequence[Message],
        *,
        reducer: Reducer,
        pay: Pay,
    ) -> list[Message]:
        """Return what the reducer makes of the whole history, going on from what it has made before."""
        messages = await self._unreduced(session, kept, said)

        async def work() -> list[Message]:
            return await reducer.reduce(messages)

        is_costly = isinstance(reducer, _AsksModel) and reducer.is_due(messages)
        reduced = await (pay(work) if is_costly else work())
        kept.reduced, kept.last = reduced, (messages[-1].id if messages else None)
        return list(reduced)

    async def _unreduced(
        self, session: ProviderSession, kept: _Kept, said: Sequence[Message]
    ) -> list[Message]:
        """Return what was reduced before and what has come in since, or all if that is not to be known."""
        if kept.last is not None:
            messages = _joined((await self._newest(session, _PAGE))[0], said, hidden=kept.hidden)
            places = [place for place, message in enumerate(messages) if message.id == kept.last]
            if places:
                return [*kept.reduced, *messages[places[-1] + 1 :]]
        return _joined(await self._asked(self._provider.load(session)), said, hidden=kept.hidden)

    def _opened(self, conversation: Conversation) -> AbstractAsyncContextManager[ProviderSession]:
        if self._sessions is not None:
            return self._sessions.opened(conversation, of=self._provider)
        session = ProviderSession(
            id=conversation.shown_id,
            agent=self._agent,
            user=conversation.user_id,
            tenant=conversation.tenant,
        )
        return nullcontext(session)

    async def _hidden_in(self, conversation: Conversation) -> frozenset[str]:
        """Return the ids of what was withdrawn or erased; nothing is read where nothing ever was."""
        hidden: set[str] = set()
        after = conversation.head if self._log is None or conversation.version == 1 else 0
        while self._log is not None and after < conversation.head:
            limit = min(_LOG_PAGE, conversation.head - after)
            page = await self._log.messages(conversation.tenant, conversation.id, after=after, limit=limit)
            if not page:
                break
            hidden.update(message.id for message in page if message.flags & _HIDDEN)
            after = page[-1].number
        return frozenset(hidden)

    async def _newest(self, session: ProviderSession, limit: int) -> tuple[list[Message], bool]:
        """Return the newest messages, or all; and whether these are all."""
        if not isinstance(self._provider, SupportsRecent):
            return await self._asked(self._provider.load(session)), True
        loaded = await self._asked(self._provider.recent(session, limit=limit))
        return loaded, len(loaded) < limit

    async def _asked(self, answer: Awaitable[T]) -> T:
        """Return what the provider gives; what it raises that is not ours is raised without its text."""
        try:
            return await answer
        except TertuliaError:
            raise
        except Exception as error:
            raise ProviderError(
                f"the history provider {self._provider.name!r} failed: {type(error).__name__}"
            ) from error


def _joined(
    loaded: Sequence[Message], said: Sequence[Message], *, hidden: Collection[str] | None
) -> list[Message]:
    """Return what the provider has and what the log has after it, without what is hidden by now."""
    ids = {message.id for message in loaded}
    known = [place for place, message in enumerate(said) if message.id in ids]
    after = said[known[-1] + 1 :] if known else said
    marked = {message.id for message in (*loaded, *said) if message.flags & _HIDDEN}.union(hidden or ())
    return [message for message in (*loaded, *after) if message.id not in marked]


def _is_more_than(budget: int, messages: Sequence[Message]) -> bool:
    """Whether messages are more than is shown, and a history could begin with one of them."""
    has_user = any(message.role == "user" for message in messages)
    return has_user and sum(tokens_of(message.content) for message in messages) > budget


def _choose(kept: _Kept, messages: list[Message], *, budget: int) -> int:
    """Have what fits of the messages shown; return the tokens it takes.

    Summaries and system messages that a reducer has left stand in front of the anchor, and stay.
    """
    front = [message for message in messages if _is_pinned(message)] if kept.last else []
    rest = [message for message in messages if not _is_pinned(message)] if kept.last else messages
    fixed = sum(tokens_of(message.content) for message in front)
    sizes = [tokens_of(message.content) for message in rest]
    start, tokens = begin(rest, sizes, anchor=kept.anchor, budget=max(budget - fixed, 0))
    kept.anchor = rest[start].id if rest else None
    _show(kept, [*front, *rest[start:]])
    return fixed + tokens


def _is_pinned(message: Message) -> bool:
    return message.role == "system" or bool(message.stands_for)


def _show(kept: _Kept, messages: list[Message]) -> None:
    """Go on with what was shown if the messages do, else begin anew."""
    before = len(kept.messages)
    if not all(map(_is_same, kept.messages, messages)) or before > len(messages):
        kept.shown, kept.pairing, before = Transcript(), Pairing(), 0
    for message in messages[before:]:
        for due in kept.pairing.due(message):
            kept.shown.add(due)
        shown = kept.pairing.shown(message)
        if shown is not None:
            kept.shown.add(shown)
    kept.messages = messages


def _is_same(one: Message, other: Message) -> bool:
    """Whether two messages are shown alike: numbers and ids of runs may be lost at a provider."""
    return one is other or (one.id, one.role, one.content) == (other.id, other.role, other.content)
