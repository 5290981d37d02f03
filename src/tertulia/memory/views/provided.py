"""The view of a history that a provider keeps: its newest part that fits, after an anchor that stays."""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from typing_extensions import override

from tertulia.conversations import Conversation
from tertulia.errors import NotFound, VersionMoved
from tertulia.llms.base import Shown
from tertulia.memory.history.asking import Asking
from tertulia.memory.history.base import HistoryProvider
from tertulia.memory.history.opened import HistorySessions
from tertulia.memory.history.recording import flags_of
from tertulia.memory.pairing import Pairing
from tertulia.memory.reducers.base import CostlyReducer, Reducer
from tertulia.memory.reducers.identity import identity
from tertulia.memory.sessions import ProviderSession
from tertulia.memory.states import States
from tertulia.memory.tokens import tokens_of
from tertulia.memory.transcript import Passage, Transcript
from tertulia.memory.views.anchored import begin
from tertulia.memory.views.base import Pay, View, at_once, too_long
from tertulia.memory.views.lacking import lacking
from tertulia.memory.views.log import Log
from tertulia.memory.views.provided_state import ProvidedState, decode_state
from tertulia.messages import HIDDEN, Message
from tertulia.stores.states import VIEW_SOURCE, StateStore

_Key: TypeAlias = tuple[int, str, int]
"""Tenant, conversation and budget."""

_PAGE: Final = 64
_LOG_PAGE: Final = 500


@dataclass(slots=True)
class _Kept:
    """What was shown of one conversation, and what is decided on it."""

    state: ProvidedState
    row: int = 0
    """The version of the stored state that was seen last; 0 for none."""
    is_decided: bool = False
    """Whether something was decided that the stored state does not say."""
    anchor: str | None = None
    messages: list[Message] = field(default_factory=list)
    """Those that are shown, from the anchor on."""
    shown: Transcript = field(default_factory=Transcript)
    pairing: Pairing = field(default_factory=Pairing)
    hidden: frozenset[str] | None = None
    """Ids of what was withdrawn or erased in the log; ``None`` as long as that is not known."""


@dataclass(frozen=True, slots=True)
class _Past:
    """One asking: whose past it is, and what the log has last of it."""

    conversation: Conversation
    session: ProviderSession
    said: Sequence[Message]
    budget: int


@dataclass(frozen=True, slots=True)
class _Missing:
    """What the provider lacks."""

    messages: Sequence[Message]
    after: str | None = None
    """Id of the last message that it does not lack; ``None`` if there is none, or it is not known."""


class ProvidedView(View):
    """Shows what a history provider has of a conversation, and after it what only the log has so far.

    Where the history begins, and what a reducer has made of it, is kept in ``states`` whenever that
    is decided anew: another process shows the same, and no model is asked twice for one summary. A
    reducer is given everything that the provider has, once, and after that what has come in.
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

        What the provider keeps of its sessions is kept in ``states``. With both of them, what the provider
        lacks is read from the log: everything after the last message that it has. Of so many conversations
        as ``most_kept`` says it is kept in mind what was shown, so that it need not be encoded again.
        """
        self._provider, self._agent, self._reducer, self._log = provider, agent, reducer, log
        self._asking = Asking(provider)
        self._states, self._source = states, f"{VIEW_SOURCE}history:{provider.name}"
        self._identity = "" if reducer is None else identity(reducer)
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
        await self._catch_up(kept, conversation, budget=budget)
        if kept.hidden is None:
            kept.hidden = await self._hidden_in(conversation)
        said = [message for message in newest if message.number <= conversation.head]
        async with self._opened(conversation) as session:
            past = _Past(conversation, session, said, budget)
            if self._reducer is None:
                messages = await self._read(past, kept)
            else:
                messages = await self._reduced(past, kept, reducer=self._reducer, pay=pay)
        tokens = _choose(kept, messages, budget=budget)
        await self._decide(kept, conversation)
        most = max(most or budget, budget)
        if tokens > most:
            raise too_long(most)
        return kept.shown.passage(opening=opening, tokens=tokens).then(kept.pairing.lacking())

    @override
    def learn(self, conversation: Conversation, said: Sequence[Message], *, budget: int) -> None:
        """Take in nothing: what the provider was given is asked for again."""

    def _of(self, key: _Key, version: int) -> _Kept:
        """Return what is kept of a conversation in which nothing was marked since."""
        kept = self._kept.pop(key, None)
        if kept is None or kept.state.version != version:
            kept = _Kept(ProvidedState(version, self._identity))
        self._kept[key] = kept
        while len(self._kept) > self._most_kept:
            self._kept.popitem(last=False)
        return kept

    async def _catch_up(self, kept: _Kept, conversation: Conversation, *, budget: int) -> None:
        """Take over what others have decided since."""
        if self._states is None:
            return
        row = await self._states.get(conversation.tenant, conversation.id, self._source)
        if row is None or row.version == kept.row:
            kept.row = kept.row if row else 0
            return
        kept.row, found = row.version, decode_state(row.value)
        if found and (found.version, found.reducer) == (conversation.version, self._identity):
            kept.state, kept.anchor = found, found.anchors.get(str(budget), kept.anchor)

    async def _decide(self, kept: _Kept, conversation: Conversation) -> None:
        """Store what was decided anew; where others were quicker, that is theirs from the next time on."""
        if not kept.is_decided or self._states is None:
            return
        kept.is_decided = False
        with suppress(VersionMoved, NotFound):
            kept.row = await self._states.put(
                conversation.tenant,
                conversation.id,
                self._source,
                kept.state.encode(),
                expected_version=kept.row,
            )

    async def _read(self, past: _Past, kept: _Kept) -> list[Message]:
        """Return the end of the history, as far back as it could be shown."""
        limit = max(_PAGE, len(kept.messages) + _PAGE)
        loaded, is_whole = await self._asking.newest(past.session, limit=limit)
        missing, loaded, is_whole = await self._missing(past, loaded, is_whole)
        while True:
            messages = _joined(loaded, missing.messages, past.said, hidden=kept.hidden)
            reaches = any(message.id == kept.anchor for message in loaded)
            if is_whole or reaches or _is_more_than(past.budget, messages):
                return messages
            limit *= 2
            loaded, is_whole = await self._asking.newest(past.session, limit=limit)

    async def _reduced(self, past: _Past, kept: _Kept, *, reducer: Reducer, pay: Pay) -> list[Message]:
        """Return what the reducer makes of the whole history, going on from what it has made before."""
        messages, last = await self._unreduced(past, kept)

        async def work() -> list[Message]:
            return await reducer.reduce(list(messages))

        is_costly = isinstance(reducer, CostlyReducer) and reducer.is_due(messages)
        reduced = await (pay(work) if is_costly else work())
        kept.state = replace(kept.state, reduced=tuple(reduced), last=last)
        kept.is_decided = kept.is_decided or list(reduced) != messages
        return list(reduced)

    async def _unreduced(self, past: _Past, kept: _Kept) -> tuple[list[Message], str | None]:
        """Return what was reduced before and what has come in since, or all if that is not to be known.

        With it comes the id of the last message that is there, or will be, when the provider is asked again.
        """
        state, limit = kept.state, _PAGE
        if state.last is None:
            loaded, is_whole = await self._asking.all(past.session), True
        else:
            loaded, is_whole = await self._asking.newest(past.session, limit=limit)
        missing, loaded, is_whole = await self._missing(past, loaded, is_whole, reduced=state.last)
        while True:
            known = {message.id for message in loaded}
            messages = _joined(loaded, missing.messages, past.said, hidden=kept.hidden)
            last = self._last(messages, past.said) or state.last
            if state.last in known:
                new = _later(messages, than=state.last)
                return [*state.reduced, *new], last
            if state.last is not None and missing.after == state.last:
                new = [message for message in messages if message.id not in known]
                return [*state.reduced, *new], last
            if is_whole:
                return messages, last
            limit *= 2
            loaded, is_whole = await self._asking.newest(past.session, limit=limit)

    def _last(self, messages: Sequence[Message], said: Sequence[Message]) -> str | None:
        """Return the id of the last message that the provider has, or is told."""
        chosen = {message.id for message in flags_of(self._provider).chosen(said)}
        untold = {message.id for message in said} - chosen
        return next((each.id for each in reversed(messages) if each.id not in untold), None)

    async def _missing(
        self,
        past: _Past,
        loaded: list[Message],
        is_whole: bool,
        *,
        reduced: str | None = None,
    ) -> tuple[_Missing, list[Message], bool]:
        """Return what comes after what was loaded; and what was loaded, whole if that had to be known.

        ``reduced`` is the id of the last message that was reduced before, if there is a reducer.
        """
        if self._log is None or self._sessions is None:
            return _Missing(_after(loaded, past.said)), loaded, is_whole
        said = {message.id for message in past.said}
        budget = past.budget if self._reducer is None else None
        while True:
            missing, after = await lacking(
                self._log,
                past.conversation,
                newest=past.said,
                known=_ids(loaded) | ({reduced} if reduced else set()),
                budget=budget,
            )
            if after or is_whole or said.issuperset(message.id for message in missing):
                return _Missing(self._wanted(missing, said), after), loaded, is_whole
            # Others have put so much there that ours is out of sight, or nothing of ours is left.
            loaded, is_whole = await self._asking.all(past.session), True

    def _wanted(self, missing: Sequence[Message], said: Collection[str]) -> list[Message]:
        """Return what the provider would have been told, and what was just said."""
        flags = flags_of(self._provider)
        chosen = [[message] if message.id in said else flags.chosen([message]) for message in missing]
        return [message for each in chosen for message in each]

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
            hidden.update(message.id for message in page if message.flags & HIDDEN)
            after = page[-1].number
        return frozenset(hidden)


def _ids(loaded: Sequence[Message]) -> set[str]:
    """Return the ids of messages, and of those that they stand for."""
    return {ident for message in loaded for ident in (message.id, *message.stands_for)}


def _after(loaded: Sequence[Message], said: Sequence[Message]) -> Sequence[Message]:
    """Return what was said after the last message that was loaded."""
    ids = _ids(loaded)
    known = [place for place, message in enumerate(said) if message.id in ids]
    return said[known[-1] + 1 :] if known else said


def _later(messages: Sequence[Message], *, than: str | None) -> Sequence[Message]:
    """Return what comes after a message; nothing if it is hidden by now, and the last one."""
    places = [place for place, message in enumerate(messages) if message.id == than]
    return messages[places[-1] + 1 :] if places else ()


def _joined(
    loaded: Sequence[Message],
    missing: Sequence[Message],
    said: Sequence[Message],
    *,
    hidden: Collection[str] | None,
) -> list[Message]:
    """Return what the provider has and what the log has after it, without what is hidden by now."""
    ids = {message.id for message in loaded}
    after = [message for message in missing if message.id not in ids]
    marked = {message.id for message in (*loaded, *said) if message.flags & HIDDEN}.union(hidden or ())
    return [message for message in (*loaded, *after) if message.id not in marked]


def _is_more_than(budget: int, messages: Sequence[Message]) -> bool:
    """Whether messages are more than is shown, and a history could begin with one of them."""
    has_user = any(message.role == "user" for message in messages)
    return has_user and sum(tokens_of(message.content) for message in messages) > budget


def _choose(kept: _Kept, messages: list[Message], *, budget: int) -> int:
    """Have what fits of the messages shown; return the tokens it takes.

    Summaries and system messages that a reducer has left stand in front of the anchor, and stay.
    """
    is_reduced = kept.state.last is not None
    front = [message for message in messages if is_reduced and _is_pinned(message)]
    rest = [message for message in messages if not (is_reduced and _is_pinned(message))]
    fixed = sum(tokens_of(message.content) for message in front)
    sizes = [tokens_of(message.content) for message in rest]
    start, tokens = begin(rest, sizes, anchor=kept.anchor, budget=max(budget - fixed, 0))
    anchor = rest[start].id if rest else None
    if start and anchor is not None and anchor != kept.anchor:
        # As long as everything is shown, whoever looks at it comes to the same.
        kept.state = replace(kept.state, anchors=kept.state.anchored(anchor, budget=budget))
        kept.is_decided = True
    kept.anchor = anchor
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
