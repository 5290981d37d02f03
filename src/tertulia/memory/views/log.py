"""The stored log as a model is shown it: the newest part that fits, kept ready between turns."""

import sys
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from typing_extensions import override

from tertulia.conversations import Conversation
from tertulia.llms.base import Shown
from tertulia.memory.pairing import Pairing
from tertulia.memory.tokens import tokens_of
from tertulia.memory.transcript import Passage, Transcript
from tertulia.memory.views.base import Pay, View, at_once, too_long
from tertulia.memory.window import Cut, Sized, find_cut, move_cut
from tertulia.messages import HIDDEN, Message
from tertulia.parts import Media, ToolCall

_Key: TypeAlias = tuple[int, str, int]
"""Tenant, conversation and budget."""

_PAGE: Final = 64
_VIEW: Final = 2_600
"""Bytes that a conversation takes that has no messages, roughly."""
_OVERHEAD: Final = 600
"""Bytes that a kept message takes beside its text, roughly."""


@dataclass(slots=True)
class _View:
    """The shown part of one conversation, as of one head."""

    version: int
    head: int
    cut: Cut
    sized: deque[Sized]
    """Of every message from the cut on, those too that are not shown."""
    shown: Transcript
    numbers: deque[int]
    """The shown messages' own; what stands in for a missing result has that of the call's."""
    pairing: Pairing
    weight: int


class Log(Protocol):
    """What is needed of a store: to read a conversation from its end, or from where one was."""

    async def recent(self, tenant: int, conversation_id: str, *, upto: int, limit: int) -> list[Message]:
        """See :meth:`tertulia.stores.base.ConversationStore.recent`."""
        ...

    async def messages(
        self, tenant: int, conversation_id: str, *, after: int = 0, limit: int = 100
    ) -> list[Message]:
        """See :meth:`tertulia.stores.base.ConversationStore.messages`."""
        ...


class LogView(View):
    """Shows what fits of the conversation's own log, newest last.

    What was shown is kept in this process and goes on from there, if head and version of the
    conversation say that nothing else has happened; so a turn costs no reading of what was said
    before, and each message is encoded for the model once. ``cache_bytes`` bounds what is kept.
    """

    def __init__(self, conversations: Log, *, cache_bytes: int = 64_000_000) -> None:
        self._conversations, self._cache_bytes = conversations, cache_bytes
        self._views: OrderedDict[_Key, _View] = OrderedDict()
        self._weight = 0

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
        view = await self._kept(key, conversation, newest)
        if view is None or not _shorten(view, total=conversation.tokens, budget=budget):
            view = await self._read(conversation, budget=budget)
        tokens, most = conversation.tokens - view.cut.before, max(most or budget, budget)
        if tokens > most:
            raise too_long(most)
        self._keep(key, view)
        return view.shown.passage(opening=opening, tokens=tokens).then(view.pairing.lacking())

    @override
    def learn(self, conversation: Conversation, said: Sequence[Message], *, budget: int) -> None:
        key = (conversation.tenant, conversation.id, budget)
        view = self._views.pop(key, None)
        if view is None:
            return
        self._weight -= view.weight
        if view.version == conversation.version and said and said[0].number == view.head + 1:
            _append(view, said)
            self._keep(key, view)

    async def _kept(self, key: _Key, conversation: Conversation, newest: Sequence[Message]) -> _View | None:
        """Return the kept view, brought up to the head; None if there is none or it is out of date."""
        view = self._views.pop(key, None)
        if view is None:
            return None
        self._weight -= view.weight
        gap = conversation.head - view.head
        if view.version != conversation.version or not 0 <= gap <= _PAGE:
            return None
        missing = [message for message in newest if message.number > view.head]
        if len(missing) != gap:  # other processes have gone on with the conversation
            missing = await self._conversations.messages(
                conversation.tenant, conversation.id, after=view.head, limit=gap
            )
        _append(view, missing)
        return view if view.head == conversation.head else None

    async def _read(self, conversation: Conversation, *, budget: int) -> _View:
        """Read the log from its end, as far as it is shown."""
        newest_first: list[Message] = []
        sized: list[Sized] = []
        cut, limit, upto = None, _PAGE, conversation.head
        while cut is None or newest_first[-1].number > cut.start:
            page = await self._conversations.recent(
                conversation.tenant, conversation.id, upto=upto, limit=limit
            )
            newest_first += page
            sized += [_size(message) for message in page]
            cut = find_cut(sized, total=conversation.tokens, budget=budget) if sized else None
            if not page or page[-1].number == 1:
                break
            upto, limit = page[-1].number - 1, limit * 2
        cut = cut or Cut(start=1, before=0)
        while newest_first and newest_first[0].number - len(newest_first) + 1 < cut.start:
            newest_first.pop()
        view = _View(
            version=conversation.version,
            head=conversation.head - len(newest_first),
            cut=cut,
            sized=deque(),
            shown=Transcript(),
            numbers=deque(),
            pairing=Pairing(),
            weight=_VIEW,
        )
        _append(view, reversed(newest_first))
        return view

    def _keep(self, key: _Key, view: _View) -> None:
        replaced = self._views.pop(key, None)
        self._weight += view.weight - (0 if replaced is None else replaced.weight)
        self._views[key] = view
        while self._weight > self._cache_bytes and self._views:
            _, dropped = self._views.popitem(last=False)
            self._weight -= dropped.weight


def _append(view: _View, messages: Iterable[Message]) -> None:
    for message in messages:
        view.sized.append(_size(message))
        view.head = message.number
        if message.flags & HIDDEN:
            continue
        for due in view.pairing.due(message):
            _show(view, due, number=view.pairing.called_at)
        shown = view.pairing.shown(message)
        if shown is not None:
            _show(view, shown, number=message.number)


def _show(view: _View, shown: Shown, *, number: int) -> None:
    view.shown.add(shown)
    view.numbers.append(number)
    view.weight += _weight(shown)


def _shorten(view: _View, *, total: int, budget: int) -> bool:
    """Drop from the front what the window has moved past; return whether the rest can be shown.

    It cannot if a call is gone and its result is not: the window may begin with a hidden message.
    """
    view.cut = move_cut(view.cut, view.sized, total=total, budget=budget)
    view.pairing.forget(before=view.cut.start)
    while view.sized and view.sized[0].number < view.cut.start:
        view.sized.popleft()
    gone = 0
    while view.numbers and view.numbers[0] < view.cut.start:
        view.numbers.popleft()
        gone += 1
    if gone:
        passage = view.shown.passage()
        view.weight -= sum(_weight(shown) for shown in passage[:gone])
        view.shown = view.shown.without_first(gone)
    return not gone or (bool(view.numbers) and view.shown.passage()[0].role != "tool")


def _weight(shown: Shown) -> int:
    """Return about how many bytes a kept message takes: as text, encoded, and joined."""
    weight = sys.getsizeof(shown.text) + 2 * len(shown.text.encode()) + _OVERHEAD
    for part in shown.parts:
        if isinstance(part, Media):
            weight += 3 * len(part.base64)
        elif isinstance(part, ToolCall):
            weight += 3 * len(part.arguments)
    return weight


def _size(message: Message) -> Sized:
    return Sized(number=message.number, role=message.role, tokens=tokens_of(message.content))
