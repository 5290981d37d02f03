"""Conversations, the runs on them and what a run leaves behind: plain frozen data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final, Literal, TypeAlias

from tertulia.errors import Failure
from tertulia.messages import Message
from tertulia.parts import Part
from tertulia.usage import Usage

DEFAULT_TENANT: Final = 0

Multitask: TypeAlias = Literal["enqueue", "reject", "interrupt", "rollback"]
"""What happens to a request when a run holds its conversation: it waits in line, is refused, or has
the holder stopped, what that one was asked and said withdrawn as well (``rollback``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """The stored, append-only log of messages with one agent, as its row tells it."""

    tenant: int
    id: str
    agent_id: str
    agent_version: int | None = None
    """The agent's version that it stays with; ``None`` follows the newest."""
    alias: str | None = None
    """The id that its creator chose, if any; names the conversation as well as ``id`` does."""
    user_id: str | None = None
    parent_id: str | None = None
    """The conversation that it is a branch of; ``None`` if it began by itself."""
    base: int = 0
    """Number of the last message that it shares with its parent; its own come after that."""
    is_hidden: bool = False
    """Whether lists leave it out: a branch that nobody asked for by name."""
    head: int = 0
    """Number of the newest message."""
    tokens: int = 0
    """Estimated tokens of all messages up to ``head``."""
    version: int = 1
    """Rises with every change to what is already written."""
    lineage_id: str = ""
    """The conversation that it and all branches beside it descend from."""
    first_message: str | None = None
    """The agent's opening, copied when the first run was accepted; ``None`` before."""
    state: str | None = None
    """What a performer keeps between runs: JSON text."""
    closed: str | None = None
    """Why it takes no further message, safe to show; ``None`` while it does."""
    created_at: int = 0
    """Microseconds since 1970, UTC."""
    updated_at: int = field(default=0, compare=False)
    """When its row was last written; microseconds since 1970, UTC."""

    @property
    def shown_id(self) -> str:
        """The id to show to callers: their own if they chose one."""
        return self.alias or self.id


class RunStatus(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more will come."""
        return self in _TERMINAL


_TERMINAL: Final = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})


class Stop(IntEnum):
    """What a run was asked for that is to stop; of two wishes the greater counts."""

    NONE = 0
    INTERRUPT = 1
    """Make room for the next one; what is kept stays."""
    CANCEL = 2
    KEEP = 3
    """As cancel, and what was said so far is kept, marked incomplete."""
    ROLLBACK = 4
    """Make room, and have every message of the run withdrawn, the one that it answers too."""


WaitKind: TypeAlias = Literal["needs_attention", "unknown_outcome", "approval", "turn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What a run that holds its conversation without working waits for: somebody's decision."""

    kind: WaitKind
    path: str
    """The step that it stopped at."""
    message: str
    """What is to be decided, safe to show."""
    until: int
    """When it ends as failed if nobody decides: microseconds since 1970, UTC."""
    subject: str = ""
    """What it is about, as JSON text: ``{"tool", "arguments"}`` where the use of a tool is to be approved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One accepted request on a conversation, until everything that it caused is kept."""

    tenant: int
    id: str
    conversation_id: str
    n: int
    """Place in the order of acceptance on its conversation, from 1."""
    status: RunStatus
    performer: str
    """Name of the performer that can carry it out."""
    epoch: int = 0
    """Counts the owners it has had; a write with an older epoch is refused."""
    attempt: int = 0
    """Claims since its journal last grew."""
    agent_version: int | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    """What the request set beyond its message: JSON values."""
    input_message_id: str = ""
    input_number: int = 0
    """Number of the message that it answers; 0 while queued."""
    last_number: int = 0
    """Number of the last message that it wrote; 0 if none."""
    usage: Usage = field(default_factory=Usage)
    stop: Stop = Stop.NONE
    """What it was asked for before its end; it ends as cancelled then, whatever it does meanwhile."""
    wait: Wait | None = None
    """What it waits for, while its status says so."""
    failure: Failure | None = None
    created_at: int = 0
    started_at: int | None = None
    ended_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to write for a run; void as soon as another process claims the run."""

    tenant: int
    run_id: str
    conversation_id: str
    epoch: int
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewConversation:
    """A conversation to be made, if it is not there yet."""

    id: str
    agent_id: str
    alias: str | None = None
    user_id: str | None = None
    agent_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A conversation to be made that begins with the first messages of another.

    It shares them rather than copying them, and goes on after them on its own.
    """

    source: str
    """Id or alias of the conversation that it branches off."""
    at: int
    """How many of its messages are shared."""
    tokens: int
    """Estimated tokens of these."""
    id: str
    """Of the new conversation."""
    alias: str | None = None
    is_hidden: bool = False
    or_append: bool = False
    """In a request: go on in the source itself if ``at`` is its head and nothing holds it or waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """What makes a write happen once, however often it is asked for."""

    key: str
    """The request's Idempotency-Key."""
    request_hash: bytes
    """Digest of everything in the request that must be equal under one key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """Who wants to carry out runs, which, and for how long before asking again."""

    owner: str
    performers: frozenset[str]
    lease_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A request to be accepted: a message for a conversation, and what is to happen with it.

    ``conversation`` names an existing one (id or alias) or one to make in the same transaction.
    """

    tenant: int = DEFAULT_TENANT
    conversation: str | NewConversation | Branch
    run_id: str
    message_id: str
    content: tuple[Part, ...]
    tokens: int
    """Estimated tokens of the content."""
    performer: str
    options: Mapping[str, object] = field(default_factory=dict)
    multitask: Multitask = "enqueue"
    expected_head: int | None = None
    reopens: bool = False
    """Whether a closed conversation is opened by it, which refuses it otherwise."""
    key: str | None = None
    """The request's Idempotency-Key."""
    request_hash: bytes = b""
    """Digest of everything in the request that must be equal under one key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of a run, as journaled: once finished it is never carried out again."""

    path: str
    """Names it within its run: ``turn/1/model/1``."""
    kind: str
    identity: bytes
    """Digest of what must be the same for the journaled output to stand for it."""
    output: str
    """JSON text."""
    usage: Usage = field(default_factory=Usage)
    external_id: str | None = None
    """By which the work can be found where it is done, if that is elsewhere."""
    started_at: int = 0
    ended_at: int = 0
    """0 for an intent: the step was begun, and what became of it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A run that this process now holds, with all that is needed to carry it out."""

    run: Run
    conversation: Conversation
    lease: Lease
    input: Message
    """The message that the run answers, numbered."""
    steps: tuple[Step, ...] = ()
    """What earlier owners have journaled and not yet committed as messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What became of a submission, committed."""

    run: Run
    conversation: Conversation
    claim: Claim | None = None
    """Set when the claimant was given a run at once: this one, or another that waited before it."""
    is_new: bool = True
    """False when the same request had been accepted before: ``run`` is that earlier one."""
    stops: str | None = None
    """The run that was asked to make room, which another process may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """What became of the wish to stop a run, committed."""

    run: Run
    """As it stands now: ended, or asked to stop."""
    next: Claim | None = None
    """The run that waited behind it, if it ended at once and the claimant was given that one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a run ends."""

    status: RunStatus
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Some consecutive events of a run in one row: their numbers are ``first_seq`` … ``last_seq``."""

    first_seq: int
    last_seq: int
    data: str
    """JSON text: the list of the events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Something to be done after a commit, at least once."""

    id: str
    kind: str
    payload: str
    """JSON text."""


class JobStatus(StrEnum):
    """Where a job stands; one that is done is gone."""

    QUEUED = "queued"
    RUNNING = "running"
    DEAD = "dead"
    """It has failed too often, or for good; somebody has to look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJob:
    """A job as its row tells it."""

    tenant: int
    job: Job
    status: JobStatus
    conversation_id: str | None = None
    """Where the commit was made that it came with."""
    run_id: str | None = None
    attempt: int = 0
    """How often it was begun."""
    due_at: int = 0
    """Before this it is not begun: microseconds since 1970, UTC."""
    error: str | None = None
    """Why it failed the last time."""
    created_at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What the holder of a lease writes in one transaction: all of it or nothing."""

    steps: tuple[Step, ...] = ()
    messages: tuple[Message, ...] = ()
    """In order; they get the numbers after the head."""
    tokens: int = 0
    """Estimated tokens of ``messages``."""
    state: str | None = None
    """New state of the conversation; ``None`` leaves it."""
    closes: str | None = None
    """Why the conversation takes no further message from now on; ``None`` leaves it as it is."""
    usage: Usage | None = None
    """New total of the run; ``None`` leaves it."""
    jobs: tuple[Job, ...] = ()
    frames: tuple[Frame, ...] = ()
    ending: Ending | None = None
    wait: Wait | None = None
    """Instead of an ending: from now on the run waits, and its lease is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What a commit has led to."""

    head: int
    """Number of the newest message now."""
    next: Claim | None = None
    """The run that waited behind the one that ended, if the claimant was given it."""
