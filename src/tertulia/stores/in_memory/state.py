"""What an in-memory store holds: one room of tables for every tenant, and a lock around them all."""

from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from operator import attrgetter
from threading import Lock

from tertulia.conversations import Conversation, Frame, JobStatus, Run, RunStatus, Step, StoredJob
from tertulia.definitions import StoredAgent
from tertulia.errors import NotFound
from tertulia.messages import Message
from tertulia.stores.rules import SUSPECT_ATTEMPTS, Standing
from tertulia.stores.states import KeptState


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFrame:
    """Events of a run, and when they were stored."""

    frame: Frame
    stored_at: int


@dataclass(slots=True, kw_only=True, eq=False)
class Entry:
    """A run in the ledger, with what is kept beside it."""

    run: Run
    input: Message | None
    """What it was asked, for as long as that has no number; from then on it stands in the log."""
    tokens: int
    """Estimated tokens of what it was asked."""
    owner: str | None = None
    lease_until: int = 0
    """While it waits: when its time is over."""
    steps: dict[str, Step] = field(default_factory=dict)
    frames: dict[int, KeptFrame] = field(default_factory=dict)
    """By the number of their first event."""

    @property
    def is_queued(self) -> bool:
        """Whether it waits to be begun."""
        return self.run.status is RunStatus.QUEUED

    @property
    def holds(self) -> bool:
        """Whether it holds its conversation."""
        return self.run.status in {RunStatus.RUNNING, RunStatus.WAITING}

    @property
    def is_suspect(self) -> bool:
        """Whether it may be what ends its processes."""
        return self.run.attempt >= SUSPECT_ATTEMPTS

    @property
    def numbers(self) -> range:
        """The numbers of the message that it answers, if it has one, and of those that it has said."""
        first = self.run.input_number
        return range(first, max(first, self.run.last_number) + 1) if first else range(0)

    @property
    def journal(self) -> tuple[Step, ...]:
        """Its steps in the order in which they were begun."""
        return tuple(sorted(self.steps.values(), key=attrgetter("started_at", "path")))

    def has_ended_before(self, time: int) -> bool:
        """Whether it has ended, and that before a time."""
        return self.run.ended_at is not None and self.run.ended_at < time

    def may_begin(self, now: int) -> bool:
        """Whether nobody is at work on it: it is queued, or its lease or the time that it waits is over."""
        return self.is_queued or (self.holds and self.lease_until <= now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Messages of a branch, ``first`` … ``last``, that stand in another conversation's log."""

    owner: "Log"
    first: int
    last: int


@dataclass(slots=True, kw_only=True, eq=False)
class Log:
    """A conversation with its messages and runs."""

    row: Conversation
    messages: list[Message] = field(default_factory=list)
    """Its own: number ``base + i`` stands at place ``i - 1``."""
    segments: tuple[Segment, ...] = ()
    """Where numbers 1 … ``base`` stand, in order."""
    sharers: list["Log"] = field(default_factory=list, repr=False)
    """The branches that share messages of its own."""
    numbers: dict[str, int] = field(default_factory=dict, repr=False)
    """Of its own messages, by their ids."""
    written: set[str] = field(default_factory=set, repr=False)
    """Ids of all messages of its room that have a number."""
    states: dict[str, KeptState] = field(default_factory=dict)
    """What providers keep of it, by source."""
    entries: list[Entry] = field(default_factory=list)
    """Run ``n`` stands at place ``n - 1``."""
    unfinished: list[Entry] = field(default_factory=list)
    """Runs that have not ended, in order; only the first can hold the conversation."""

    @property
    def holder(self) -> Entry | None:
        """The run that is running or waiting, if there is one."""
        return next((entry for entry in self.unfinished[:1] if entry.holds), None)

    def standing(self) -> Standing:
        """Return where the conversation stands."""
        return Standing(
            head=self.row.head,
            holder=self.holder is not None,
            queued=any(entry.is_queued for entry in self.unfinished),
            closed=self.row.closed,
        )

    def close(self, reason: str | None, *, now: int) -> None:
        """Have it take no further message, for this reason, or take them again (``None``)."""
        self.row = replace(self.row, closed=reason, updated_at=now)

    def newest_on(self, message_id: str) -> Entry:
        """Return the newest run on this input message, which there is."""
        return next(e for e in reversed(self.entries) if e.run.input_message_id == message_id)

    def owner_of(self, number: int) -> "Log":
        """Return the conversation in whose log a message of this one stands: itself, or an ancestor."""
        shared = (segment.owner for segment in self.segments if segment.first <= number <= segment.last)
        return next(shared, self)

    def say(self, messages: Iterable[Message]) -> None:
        """Put messages at the end, which have their numbers."""
        for message in messages:
            self.messages.append(message)
            self.numbers[message.id] = message.number
            self.written.add(message.id)

    def shows(self, message_id: str) -> bool:
        """Whether a message of this id stands in it, its own or shared."""
        shared = ((each, each.owner.numbers.get(message_id, 0)) for each in self.segments)
        return message_id in self.numbers or any(each.first <= number <= each.last for each, number in shared)

    def own(self, number: int) -> Message:
        """Return a message that stands in this log."""
        return self.messages[number - self.row.base - 1]

    def between(self, first: int, last: int) -> list[Message]:
        """Return messages ``first`` … ``last``, as far as they are there, wherever they stand."""
        found: list[Message] = []
        for segment in self.segments:
            found += segment.owner._own_between(max(first, segment.first), min(last, segment.last))
        return found + self._own_between(first, last)

    def _own_between(self, first: int, last: int) -> list[Message]:
        base = self.row.base
        return self.messages[max(first - base - 1, 0) : max(last - base, 0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """An idempotency key in its scope, and what was made with it."""

    request_hash: bytes
    resource: str
    """The id of an agent, a conversation or a run."""
    expires: int


@dataclass(slots=True, kw_only=True, eq=False)
class JobEntry:
    """A job, with the lease of whoever is at it."""

    stored: StoredJob
    lease_until: int = 0

    def is_due(self, now: int) -> bool:
        """Whether somebody should begin it: its time has come, or who has begun it gives no sign."""
        if self.stored.status is JobStatus.RUNNING:
            return self.lease_until <= now
        return self.stored.status is JobStatus.QUEUED and self.stored.due_at <= now


@dataclass(slots=True)
class Room:
    """Everything of one tenant."""

    agents: dict[str, list[StoredAgent]] = field(default_factory=dict)
    """By id, at every version."""
    names: dict[str, str] = field(default_factory=dict)
    logs: dict[str, Log] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    of_agent: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Conversations of an agent that lists show, in order of creation."""
    runs: dict[str, Entry] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)
    """Ids of the messages that have a number."""
    busy: dict[str, Log] = field(default_factory=dict)
    """Conversations with unfinished runs."""
    keys: dict[tuple[str, str], KnownKey] = field(default_factory=dict)
    """By scope and key, the oldest first."""
    jobs: dict[str, JobEntry] = field(default_factory=dict)
    user_states: dict[str, dict[str, KeptState]] = field(default_factory=dict)
    """What providers keep of users, by scope and source."""
    gone_version: int = 0
    """The highest version of a conversation that was dropped: one that takes its id again is above it."""

    def agent(self, agent_id: str, *, version: int | None = None) -> StoredAgent:
        """Return an agent by id, at its newest version or the one given; raises ``NotFound``."""
        versions = self.agents.get(agent_id, [])
        place = len(versions) if version is None else version
        if not 0 < place <= len(versions):
            raise NotFound("there is no such agent")
        return versions[place - 1]

    def add(self, log: Log) -> Log:
        """Put a new conversation where it can be found; return it."""
        row, log.written = log.row, self.written
        self.logs[row.id] = log
        if row.alias is not None:
            self.aliases[row.alias] = row.id
        if not row.is_hidden:
            insort(self.of_agent[row.agent_id], row.id)
        return log

    def log(self, conversation: str) -> Log | None:
        """Return a conversation by id or alias, if there is one."""
        return self.logs.get(conversation) or self.logs.get(self.aliases.get(conversation, ""))

    def known_log(self, conversation: str) -> Log:
        """Return a conversation by id or alias; raises ``NotFound``."""
        log = self.log(conversation)
        if log is None:
            raise NotFound("there is no such conversation")
        return log

    def log_of_id(self, conversation_id: str) -> Log:
        """Return a conversation by its id alone; raises ``NotFound``."""
        log = self.logs.get(conversation_id)
        if log is None:
            raise NotFound("there is no such conversation")
        return log

    def entry(self, run_id: str) -> Entry:
        """Return a run; raises ``NotFound``."""
        entry = self.runs.get(run_id)
        if entry is None:
            raise NotFound("there is no such run")
        return entry

    def log_of(self, entry: Entry) -> Log:
        """Return the conversation that a run is on."""
        return self.logs[entry.run.conversation_id]


@dataclass(frozen=True, slots=True)
class State:
    """The rooms of all tenants; whoever enters one holds the lock and never waits meanwhile."""

    now: Callable[[], int]
    lock: Lock = field(default_factory=Lock)
    rooms: defaultdict[int, Room] = field(default_factory=lambda: defaultdict(Room))
