"""The stored log as a reducer leaves it, kept ready between turns."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from typing_extensions import override

from tertulia.conversations import Conversation
from tertulia.errors import NotFound, VersionMoved
from tertulia.llms.base import Shown
from tertulia.memory.reducers.base import Reducer
from tertulia.memory.reducers.chain import ReducerChain
from tertulia.memory.reducers.folding import FoldingReducer
from tertulia.memory.reducers.identity import identity
from tertulia.memory.reducers.token_budget import TokenBudgetReducer
from tertulia.memory.transcript import Passage
from tertulia.memory.views.base import Pay, View, at_once, too_long
from tertulia.memory.views.fitting import Fitting
from tertulia.memory.views.growing import Growing
from tertulia.memory.views.log import Log
from tertulia.memory.views.reduced_state import Place, ReducedState, decode_state
from tertulia.messages import HIDDEN, Message
from tertulia.parts import Media, Reasoning, Text, ToolCall, ToolResult
from tertulia.stores.states import VIEW_SOURCE, StateStore

_Key: TypeAlias = tuple[int, str, int]
"""Tenant, conversation and budget."""

MOST_TOKENS: Final = 400_000
"""What a reducer leaves has at most so many estimated tokens; models are rarely shown as much."""

MOST_VIEWS: Final = 8
"""For so many reducers at most it is kept what is shown of a conversation."""

_PAGE: Final = 200
_VIEW: Final = 3_000
"""Bytes that a conversation takes that has no messages, roughly."""
_OVERHEAD: Final = 1_700
"""Bytes that a kept message takes beside its text, roughly."""
_PER_CHARACTER: Final = 4


@dataclass(slots=True)
class _Kept:
    """What is shown of one conversation, as of one head."""

    version: int
    head: int
    growing: Growing
    fitting: Fitting
    learned: list[Message] = field(default_factory=list)
    """Messages up to the head that are not taken in yet."""
    read: dict[int, Message] = field(default_factory=dict)
    """Those of the log that may be shown, as they stand there."""
    weight: int = 0


class ReducedView(View):
    """Shows of the conversation's own log what a reducer leaves of it.

    Whenever something was cut or changed, what is shown from then on is kept in ``states``; so it is
    read from there on only, in this process or another, and no model is asked twice for one summary.
    A reducer that cannot be described (:func:`~tertulia.memory.reducers.identity.description`) shares it
    with no other view.
    If what is already written has changed, the whole log is gone through again. In this process it is
    kept ready, in at most ``cache_bytes``.
    """

    def __init__(
        self,
        conversations: Log,
        states: StateStore,
        reducer: Reducer,
        *,
        cache_bytes: int = 64_000_000,
        most_tokens: int = MOST_TOKENS,
    ) -> None:
        self._conversations, self._states = conversations, states
        self._reducer = _bounded(reducer, most_tokens)
        self._source = VIEW_SOURCE + identity(self._reducer)
        self._cache_bytes, self._weight = cache_bytes, 0
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()

    @override
    async def show(
        self,
        conversation: Conversation,
        *,
        newest: Sequence[Message],
        budget: int,
        most: int | None = None,
        opening: tuple[Shown, ...] = (),
        pay: Pay = at_once,
    ) -> Passage:
        key = (conversation.tenant, conversation.id, budget)
        kept = self._take(key)
        if kept is None or not _goes_on(kept, conversation, newest):
            kept = await self._begin(conversation, budget=budget)
        if await self._take_in(kept, conversation, newest, pay):
            kept.fitting = Fitting(kept.growing.messages, budget=budget, known=kept.fitting.known)
            await self._store(conversation, kept)
        most = max(most or budget, budget)
        if kept.fitting.tokens > most:
            raise too_long(most)
        self._keep(key, kept)
        return kept.fitting.passage(opening=opening)

    @override
    def learn(self, conversation: Conversation, said: Sequence[Message], *, budget: int) -> None:
        key = (conversation.tenant, conversation.id, budget)
        kept = self._take(key)
        if kept is None:
            return
        if kept.version == conversation.version and said and said[0].number == kept.head + 1:
            kept.learned += said
            kept.head = said[-1].number
            kept.weight += sum(_weight(message) for message in said)
            self._keep(key, kept)

    async def _begin(self, conversation: Conversation, *, budget: int) -> _Kept:
        """Return what is kept in the store; or nothing, to which the whole log is to be added."""
        found = await self._states.get(conversation.tenant, conversation.id, self._source)
        state = None if found is None else decode_state(found.value)
        if state is not None and state.version == conversation.version and state.head <= conversation.head:
            read = await self._referenced(conversation, state.numbers)
            messages = state.messages(read)
            if messages is not None:
                growing = Growing(self._reducer, messages)
                fitting = Fitting(messages, budget=budget)
                weight = sum(_weight(message) for message in messages)
                return _Kept(state.version, state.head, growing, fitting, read=read, weight=weight)
        return _Kept(conversation.version, 0, Growing(self._reducer), Fitting((), budget=budget))

    async def _take_in(
        self, kept: _Kept, conversation: Conversation, newest: Sequence[Message], pay: Pay
    ) -> bool:
        """Bring what is kept up to the head; return whether more has changed than its end."""
        is_changed = False
        async for said in self._pages(kept, conversation, newest):
            visible = [message for message in said if not message.flags & HIDDEN]
            kept.read |= {message.number: message for message in visible}
            if await kept.growing.add(visible, pay=pay):
                is_changed = True
                shown = {message.number for message in kept.growing.messages}
                kept.read = {number: each for number, each in kept.read.items() if number in shown}
            elif not is_changed:
                kept.fitting.add(visible)
        kept.head = conversation.head
        kept.weight = (
            sum(_weight(message) for message in kept.growing.messages) if is_changed else kept.weight
        )
        return is_changed

    async def _pages(
        self, kept: _Kept, conversation: Conversation, newest: Sequence[Message]
    ) -> AsyncIterator[list[Message]]:
        """Yield what is new, in one list or in several."""
        learned, kept.learned = kept.learned, []
        later = _later(newest, kept, conversation)
        if len(later) == conversation.head - kept.head:
            kept.weight += sum(_weight(message) for message in later)
            if learned or later:
                yield learned + later
            return
        pages = self._log(conversation, after=kept.head)
        if kept.growing.asks:
            yield learned + [message async for page in pages for message in page]
            kept.weight = sum(_weight(message) for message in kept.growing.messages)
            return
        if learned:
            yield learned
        async for page in pages:
            kept.weight += sum(_weight(message) for message in page)
            yield page

    async def _log(self, conversation: Conversation, *, after: int) -> AsyncIterator[list[Message]]:
        while after < conversation.head:
            limit = min(_PAGE, conversation.head - after)
            page = await self._conversations.messages(
                conversation.tenant, conversation.id, after=after, limit=limit
            )
            if not page:
                return
            yield page
            after = page[-1].number

    async def _referenced(self, conversation: Conversation, numbers: Sequence[int]) -> dict[int, Message]:
        """Return the messages of these numbers; those that stand near each other are read together."""
        found: dict[int, Message] = {}
        for number in numbers:
            if number not in found:
                last = max(each for each in numbers if each < number + _PAGE)
                page = await self._conversations.messages(
                    conversation.tenant, conversation.id, after=number - 1, limit=last - number + 1
                )
                found |= {message.number: message for message in page}
        return {number: found[number] for number in numbers if number in found}

    async def _store(self, conversation: Conversation, kept: _Kept) -> None:
        """Keep what is shown from now on; who has gone further already is right as well."""
        places = tuple(_place(message, kept.read) for message in kept.growing.messages)
        state = ReducedState(conversation.version, kept.head, places)
        tenant, scope = conversation.tenant, conversation.id
        found = await self._states.get(tenant, scope, self._source)
        before = None if found is None else decode_state(found.value)
        if before is not None and before.version == state.version and before.head >= state.head:
            return
        with suppress(VersionMoved, NotFound):
            await self._states.put(
                tenant, scope, self._source, state.encode(), expected_version=found.version if found else 0
            )
            if found is None:
                await self._forget_oldest(tenant, scope)

    async def _forget_oldest(self, tenant: int, scope: str) -> None:
        """Take away what was kept for other reducers, long ago; agents that take turns each have theirs."""
        kept = await self._states.all_of(tenant, scope)
        others = [each for each in kept if _is_of_reducer(each) and each != self._source]
        others.sort(key=lambda source: _head(kept[source].value))
        for source in others[: max(0, len(others) - MOST_VIEWS + 1)]:
            await self._states.put(tenant, scope, source, None, expected_version=kept[source].version)

    def _take(self, key: _Key) -> _Kept | None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._weight -= kept.weight + _VIEW
        return kept

    def _keep(self, key: _Key, kept: _Kept) -> None:
        self._take(key)
        self._weight += kept.weight + _VIEW
        self._kept[key] = kept
        while self._weight > self._cache_bytes and self._kept:
            self._take(next(iter(self._kept)))


def _goes_on(kept: _Kept, conversation: Conversation, newest: Sequence[Message]) -> bool:
    """Whether what is shown now goes on from what is kept.

    If others have gone on with the conversation, they may have had a summary made, and one is enough.
    """
    if kept.version != conversation.version or kept.head > conversation.head:
        return False
    is_whole = len(_later(newest, kept, conversation)) == conversation.head - kept.head
    return is_whole or not kept.growing.asks


def _later(newest: Sequence[Message], kept: _Kept, conversation: Conversation) -> list[Message]:
    return [message for message in newest if kept.head < message.number <= conversation.head]


def _bounded(reducer: Reducer, most_tokens: int) -> Reducer:
    """Return a reducer that also forgets, so that what is kept of a conversation is never all of it."""
    if not isinstance(reducer, FoldingReducer) or (isinstance(reducer, ReducerChain) and reducer.is_mixed):
        return reducer
    return ReducerChain([reducer, TokenBudgetReducer(most_tokens)])


def _place(message: Message, read: dict[int, Message]) -> Place:
    return message.number if message.number and read.get(message.number) == message else message


def _is_of_reducer(source: str) -> bool:
    """Whether a reducer's identity names it; views of another kind put their own name before that."""
    return source.startswith(VIEW_SOURCE) and ":" not in source.removeprefix(VIEW_SOURCE)


def _head(value: str) -> int:
    """Return how far what is kept has come; what cannot be read has come nowhere."""
    state = decode_state(value)
    return 0 if state is None else state.head


def _weight(message: Message) -> int:
    """Return about how many bytes a kept message takes."""
    characters = sum(_characters(part) for part in message.content)
    return _OVERHEAD + _PER_CHARACTER * (characters + sum(map(len, message.stands_for)))


def _characters(part: object) -> int:
    match part:
        case Text() | ToolResult() | Reasoning():
            return len(part.text)
        case ToolCall():
            return len(part.arguments)
        case Media():
            return len(part.base64)
        case _:
            return 0
