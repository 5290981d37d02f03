"""A list of messages that grows at its end while rules make it shorter from its front.

Reducers of ours are folds: their rules are looked at after every single message, never at the end of
what happened to be read. So it makes no difference when and how often they are applied.

Messages that belong together go together (:class:`Exchange`): a call of a tool and its result, which
find each other by the call's id wherever they stand. A result belongs to the newest call of its id
that has none yet. A result without a call (it was cut off, or never there) is left out, since it can
be shown to nobody.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from tertulia.messages import Message
from tertulia.parts import Part, ToolCall, ToolResult

NOWHERE: Final = -1


class Rule:
    """What is done to a list of messages each time it has grown; made anew for every fold."""

    asks: bool = False
    """Whether a model may have to be asked, by :meth:`settle`."""

    def size(self, message: Message) -> int:
        """Return how much a message counts; the fold adds it up."""
        return 0

    def apply(self, fold: "Fold", total: int) -> bool:
        """Do what is to be done at this size; return whether that was anything."""
        raise NotImplementedError

    @property
    def is_due(self) -> bool:
        """Whether a model must be asked now."""
        return False

    async def settle(self, fold: "Fold") -> bool:
        """Ask it; return whether that went well."""
        return True


@dataclass(slots=True, eq=False)
class Exchange:
    """Messages that go or stay together: calls of tools with their results, or one message alone."""

    places: list[int]
    """Where in the fold they stand, in order."""
    unanswered: list[str] = field(default_factory=list)
    """Ids of calls that have no result yet."""
    number: int = NOWHERE
    """Its place among the exchanges with tools."""
    is_gone: bool = False

    @property
    def start(self) -> int:
        """Where its first message stands."""
        return self.places[0]


@dataclass(slots=True)
class _Entry:
    message: Message
    sizes: list[int]
    exchange: Exchange | None
    """``None`` for what stays whatever happens: system messages and summaries."""


class Fold:
    """Messages as rules have left them; :meth:`add` goes on with one more."""

    def __init__(self, rules: Sequence[Rule], messages: Iterable[Message] = ()) -> None:
        self.rules = rules
        self.is_changed = False
        """Whether anything else has happened than that messages were put at the end."""
        self.summaries: list[int] = []
        """Where summaries stand."""
        self.tool_exchanges: list[Exchange] = []
        """In the order of their calls; those cut off are still there, at the front."""
        self.touched: Exchange | None = None
        """To which the newest message belongs."""
        self._entries: list[_Entry | None] = []
        self._totals = [0] * len(rules)
        self._open: dict[str, list[Exchange]] = {}
        self._front = 0
        self._newest_user = self._newest = NOWHERE
        for message in messages:
            self.add(message)

    def add(self, message: Message) -> None:
        """Go on with a message, and apply the rules until they have nothing more to do."""
        if message.role != "tool":
            self._append(message, self._exchange_of(message))
        elif not self._append_results(message):
            self.is_changed = True
            return
        while self._apply_rules():
            self.is_changed = True

    def messages(self) -> list[Message]:
        """Return what there is now, in order."""
        return [entry.message for entry in self._entries if entry is not None]

    def total_of(self, rule: Rule) -> int:
        """Return how much there is now, as a rule counts."""
        return self._totals[self.rules.index(rule)]

    def message_at(self, place: int) -> Message:
        """Return the message that stands at a place."""
        return self._entry(place).message

    def leaving(self, rule: Rule, *, low: int) -> list[Exchange]:
        """Return the exchanges at the front that go so that what is left has ``low`` at most.

        What is left then begins with a user message, if there is one at all. The newest user message
        and all that comes after it stays even if that is more; without a user, the newest exchange.
        """
        meter = self.rules.index(rule)
        self._skip_what_stays()
        limit = self._newest_user if self._newest_user != NOWHERE else self._start_of_newest()
        left, leaving = self._totals[meter], list[Exchange]()
        for place in range(self._front, limit):
            entry = self._entries[place]
            if entry is None or entry.exchange is None:
                continue
            if leaving and left <= low and self._may_begin_at(place):
                break
            if entry.exchange.start == place:
                leaving.append(entry.exchange)
                left -= sum(self._entry(each).sizes[meter] for each in entry.exchange.places)
        return leaving

    def drop(self, exchanges: Iterable[Exchange]) -> None:
        """Take exchanges out of the list."""
        for exchange in exchanges:
            exchange.is_gone = True
            for place in exchange.places:
                self._clear(place)
            for call_id in exchange.unanswered:
                self._open[call_id].remove(exchange)

    def put(self, place: int, message: Message) -> None:
        """Let another message stand at a place; a summary may also stand where nothing is any more."""
        entry = self._entries[place]
        exchange = None if entry is None else entry.exchange
        self._clear(place)
        self._entries[place] = self._counted(message, exchange)
        if message.stands_for:
            self.summaries = sorted({*self.summaries, place})

    def take_out_summary(self, place: int) -> Message:
        """Take a summary out of the list, and return it."""
        message = self.message_at(place)
        self.summaries.remove(place)
        self._clear(place)
        return message

    def _apply_rules(self) -> bool:
        """Look at every rule once; return whether any of them had something to do."""
        applied = False
        for meter, rule in enumerate(self.rules):
            applied = rule.apply(self, self._totals[meter]) or applied
        return applied

    def _exchange_of(self, message: Message) -> Exchange | None:
        """Return the exchange that a message begins, if it can be cut off at all."""
        if message.role == "system" or message.stands_for:
            return None
        exchange = Exchange([len(self._entries)])
        exchange.unanswered = list(dict.fromkeys(p.id for p in message.content if isinstance(p, ToolCall)))
        for call_id in exchange.unanswered:
            self._open.setdefault(call_id, []).append(exchange)
        if exchange.unanswered:
            exchange.number = len(self.tool_exchanges)
            self.tool_exchanges.append(exchange)
        return exchange

    def _append(self, message: Message, exchange: Exchange | None) -> None:
        place = len(self._entries)
        self._entries.append(self._counted(message, exchange))
        self.touched = exchange
        if message.stands_for:
            self.summaries.append(place)
        elif exchange is not None:
            self._newest = place
            if message.role == "user":
                self._newest_user = place

    def _append_results(self, message: Message) -> bool:
        """Put the results at the end whose calls are there; return whether there are any."""
        parts, exchanges = list[Part](), list[Exchange]()
        for part in message.content:
            if isinstance(part, ToolResult):
                if not self._open.get(part.call_id):
                    continue
                exchange = self._open[part.call_id].pop()
                exchange.unanswered.remove(part.call_id)
                exchanges.append(exchange)
            parts.append(part)
        if not exchanges:
            return False
        if len(parts) < len(message.content):
            message, self.is_changed = replace(message, content=tuple(parts)), True
        exchange = self._joined(exchanges)
        exchange.places.append(len(self._entries))
        self._append(message, exchange)
        return True

    def _joined(self, exchanges: list[Exchange]) -> Exchange:
        """Return the one exchange that these are from now on, because one message answers them all."""
        first = min(exchanges, key=lambda each: each.start)
        for other in exchanges:
            if other is first or other.is_gone:
                continue
            other.is_gone = True
            first.places = sorted(first.places + other.places)
            first.unanswered += other.unanswered
            for call_id in other.unanswered:
                waiting = self._open[call_id]
                waiting[waiting.index(other)] = first
            for place in other.places:
                self._entry(place).exchange = first
            self.tool_exchanges.remove(other)
            for number, each in enumerate(self.tool_exchanges):
                each.number = number
        return first

    def _may_begin_at(self, place: int) -> bool:
        """Whether what is shown may begin there: with a user, or anywhere if none has spoken."""
        entry = self._entry(place)
        if self._newest_user != NOWHERE:
            return entry.message.role == "user"
        return entry.exchange is not None and entry.exchange.start == place

    def _start_of_newest(self) -> int:
        if self._newest == NOWHERE:
            return NOWHERE
        exchange = self._entry(self._newest).exchange
        return NOWHERE if exchange is None else exchange.start

    def _skip_what_stays(self) -> None:
        while self._front < len(self._entries):
            entry = self._entries[self._front]
            if entry is not None and entry.exchange is not None:
                return
            self._front += 1

    def _counted(self, message: Message, exchange: Exchange | None) -> _Entry:
        sizes = [rule.size(message) for rule in self.rules]
        self._totals = [total + size for total, size in zip(self._totals, sizes, strict=True)]
        return _Entry(message, sizes, exchange)

    def _clear(self, place: int) -> None:
        entry = self._entries[place]
        if entry is not None:
            self._totals = [total - size for total, size in zip(self._totals, entry.sizes, strict=True)]
            self._entries[place] = None

    def _entry(self, place: int) -> _Entry:
        entry = self._entries[place]
        if entry is None:
            raise AssertionError("not reached: nothing stands there")
        return entry
