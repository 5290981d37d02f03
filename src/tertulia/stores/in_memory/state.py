"""What an in-memory store holds: one room of tables for every tenant, and a lock around them all."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from tertulia.conversations import Conversation, Frame, Job, Run, RunStatus, Step
from tertulia.definitions import Agent
from tertulia.errors import NotFound
from tertulia.messages import Message
from tertulia.stores.rules import Standing


@dataclass(slots=True, kw_only=True)
class Entry:
    """A run in the ledger, with what is kept beside it."""

    run: Run
    input: Message
    tokens: int
    """Estimated tokens of the input."""
    owner: str | None = None
    lease_until: int = 0
    steps: dict[str, Step] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)

    def may_begin(self, now: int) -> bool:
        """Whether nobody is at work on it: it is queued, or its owner's lease has run out."""
        if self.run.status is RunStatus.RUNNING:
            return self.lease_until <= now
        return self.run.status is RunStatus.QUEUED


@dataclass(slots=True, kw_only=True)
class Log:
    """A conversation with its messages and runs."""

    row: Conversation
    messages: list[Message] = field(default_factory=list)
    """Number ``i`` stands at place ``i - 1``."""
    entries: list[Entry] = field(default_factory=list)
    """Run ``n`` stands at place ``n - 1``."""
    unfinished: list[Entry] = field(default_factory=list)
    """Runs that have not ended, in order; only the first can be held."""

    def standing(self) -> Standing:
        """Return where the conversation stands."""
        states = [entry.run.status for entry in self.unfinished]
        return Standing(
            head=self.row.head,
            holder=RunStatus.RUNNING in states or RunStatus.WAITING in states,
            queued=RunStatus.QUEUED in states,
        )

    def newest_on(self, message_id: str) -> Entry:
        """Return the newest run on this input message, which there is."""
        return next(e for e in reversed(self.entries) if e.run.input_message_id == message_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """An idempotency key in its scope, and what was accepted with it."""

    request_hash: bytes
    run_id: str
    expires: int


@dataclass(slots=True)
class Room:
    """Everything of one tenant."""

    agents: dict[str, list[Agent]] = field(default_factory=dict)
    """By id, at every version."""
    names: dict[str, str] = field(default_factory=dict)
    logs: dict[str, Log] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    of_agent: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Conversations of an agent, in order of creation."""
    runs: dict[str, Entry] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)
    """Ids of the messages that runs have written."""
    busy: dict[str, Log] = field(default_factory=dict)
    """Conversations with unfinished runs."""
    keys: dict[tuple[str, str], KnownKey] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)

    def agent(self, agent_id: str, *, version: int | None = None) -> Agent:
        """Return an agent by id, at its newest version or the one given; raises ``NotFound``."""
        versions = self.agents.get(agent_id, [])
        place = len(versions) if version is None else version
        if not 0 < place <= len(versions):
            raise NotFound("there is no such agent")
        return versions[place - 1]

    def log(self, conversation: str) -> Log | None:
        """Return a conversation by id or alias, if there is one."""
        return self.logs.get(conversation) or self.logs.get(self.aliases.get(conversation, ""))

    def known_log(self, conversation: str) -> Log:
        """Return a conversation by id or alias; raises ``NotFound``."""
        log = self.log(conversation)
        if log is None:
            raise NotFound("there is no such conversation")
        return log


@dataclass(frozen=True, slots=True)
class State:
    """The rooms of all tenants; whoever enters one holds the lock and never waits meanwhile."""

    now: Callable[[], int]
    lock: Lock = field(default_factory=Lock)
    rooms: defaultdict[int, Room] = field(default_factory=lambda: defaultdict(Room))
