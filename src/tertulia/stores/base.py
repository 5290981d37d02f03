"""The port to storage: whole units of work on agents, conversations and runs.

Laws for every store:

* A method is one transaction: it happens altogether or not at all, and when it has returned, its
  effect outlives the process.
* Things of one tenant are never seen through another tenant's calls; they are simply not there.
* Where a conversation is named as ``conversation``, the alias that its creator chose will do as
  well; a ``conversation_id`` is its id.
* Failures of the database are raised as :class:`~tertulia.errors.StoreBusy` (ask again) or
  :class:`~tertulia.errors.StoreUnavailable`; no foreign exception leaves a store.
* What can never be stored (half a surrogate pair, a number out of range) is raised as
  :class:`~tertulia.errors.InvalidInput`: asking again would not help.
* Lists are in order of creation, oldest first unless said otherwise; ``after`` is the id of the
  last one seen, ``limit`` the most to be returned.
* A write that is given ``once`` happens once for its key and scope within 24 hours: asked for again
  it returns what it returned then, as that stands now, and changes nothing; a key that was used for
  another request there is refused with :class:`~tertulia.errors.IdempotencyMismatch`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, Self, runtime_checkable

from tertulia.conversations import (
    Branch,
    Conversation,
    JobStatus,
    NewConversation,
    Once,
    StoredJob,
)
from tertulia.definitions import AgentDefinition, StoredAgent
from tertulia.messages import Flag, Message
from tertulia.stores.documents import DocumentStore
from tertulia.stores.ledger import RunReader, RunStore
from tertulia.stores.states import KeptState, StateStore


class AgentStore(Protocol):
    """Agents and the versions of their definitions."""

    async def create(
        self, tenant: int, agent_id: str, definition: AgentDefinition, *, once: Once | None = None
    ) -> StoredAgent:
        """Store a new agent at version 1.

        Raises :class:`~tertulia.errors.DuplicateName` if the tenant has one of this name. The scope
        of ``once`` is the tenant.
        """
        ...

    async def get(self, tenant: int, agent: str, *, version: int | None = None) -> StoredAgent:
        """Return an agent by id or by name, at its newest version or the one given.

        Raises :class:`~tertulia.errors.NotFound`.
        """
        ...

    async def update(
        self,
        tenant: int,
        agent_id: str,
        definition: AgentDefinition,
        *,
        expected_version: int | None = None,
        once: Once | None = None,
    ) -> StoredAgent:
        """Store a new version, newest from now on; earlier versions stay readable.

        A definition equal to the newest makes no version. Raises ``NotFound``, ``DuplicateName``, and
        before that :class:`~tertulia.errors.VersionMoved` if a version is expected to be the newest
        and is not, whatever the definition. The scope of ``once`` is the agent; a key that is known
        already expects no version any more, and what was refused leaves none.
        """
        ...

    async def page(self, tenant: int, *, after: str | None = None, limit: int = 100) -> list[StoredAgent]:
        """Return agents at their newest version."""
        ...


class ConversationStore(Protocol):
    """Conversations and their messages; runs write them, and :meth:`append`.

    Laws: a branch shares the messages that it began with: they have the same ids and numbers in
    both, and what is marked in one is marked in all that share it. Lock order: a conversation
    first, then the branches that share its messages, by id.
    """

    async def create(self, tenant: int, new: NewConversation, *, once: Once | None = None) -> Conversation:
        """Make a conversation, or return the one that already has this alias or id, unchanged.

        Raises ``NotFound`` if there is no such agent, and
        :class:`~tertulia.errors.SessionMismatch` if the conversation belongs to another agent, or a
        user is named and it belongs to another one or to nobody. Of several users who ask for one
        alias at once, one gets it. The scope of ``once`` is the agent.
        """
        ...

    async def fork(self, tenant: int, branch: Branch, *, once: Once | None = None) -> Conversation:
        """Make a branch, or return the conversation that already has its alias or id, if it is that branch.

        It has the agent, the agent's version, the user and the opening of its source, and also its
        state if ``at`` is the head: what was then is not known of earlier places. Its cost does not
        depend on how much it shares, nor on how many branches lie between it and the beginning.

        Raises ``NotFound``; :class:`~tertulia.errors.InvalidInput` if the source has no ``at``
        messages; ``SessionMismatch`` if alias or id name something else. The scope of ``once`` is
        the source. ``or_append`` means nothing here.
        """
        ...

    async def mark(
        self, tenant: int, conversation_id: str, numbers: Sequence[int], flag: Flag
    ) -> Conversation:
        """Withdraw messages (``Flag.WITHDRAWN``), or erase them (``Flag.DELETED``).

        What is withdrawn stays in the log and is no longer shown to models. What is erased leaves a
        tombstone: number, id, role, run, turn, times and flags; its content is empty and its author
        gone, and so are the events of the runs that have said it or answered it. The version of every
        conversation that shares a message that has changed rises by one; where nothing changes
        (they were marked so before), nothing rises.

        Raises ``NotFound``, also if a number is not there, and
        :class:`~tertulia.errors.ConversationBusy` if a run that holds the conversation in whose log
        one of these messages stands has said it, or answers it.
        """
        ...

    async def set_closed(self, tenant: int, conversation: str, reason: str | None) -> Conversation:
        """Close a conversation, so that it takes no further message, or open it again (``None``).

        One that is as wanted already stays as it is, its reason too. Runs that were accepted before
        are carried out. A branch is open, whatever its source is. Raises ``NotFound``.
        """
        ...

    async def append(
        self, tenant: int, conversation: str, messages: Sequence[Message], *, tokens: Sequence[int]
    ) -> Conversation:
        """Put messages at the end of a conversation that were said elsewhere; no run is begun.

        They get the numbers after the head, in their order; messages whose id stands in it already,
        its own or shared, are left out, so that the same call again changes nothing. ``tokens`` are
        the estimated ones of each message, in the same order. What they say of a run, a turn or a
        number counts nothing.

        Raises ``NotFound``; :class:`~tertulia.errors.ConversationClosed`, and
        :class:`~tertulia.errors.ConversationBusy` if a run holds the conversation or waits in line;
        :class:`~tertulia.errors.InvalidInput`, and nothing is appended, if an id has not the form of
        ours, or stands in another conversation of the tenant.
        """
        ...

    async def get(self, tenant: int, conversation: str) -> Conversation:
        """Return a conversation by id or alias; raises ``NotFound``."""
        ...

    async def page(
        self, tenant: int, agent_id: str, *, after: str | None = None, limit: int = 100
    ) -> list[Conversation]:
        """Return the conversations of an agent that are not hidden; an unknown agent has none."""
        ...

    async def newest(
        self, tenant: int, agent_ids: Sequence[str], *, each: int
    ) -> dict[str, list[Conversation]]:
        """Return for every agent its ``each`` newest conversations, oldest of them first; none hidden.

        The number of queries does not grow with every agent.
        """
        ...

    async def messages(
        self, tenant: int, conversation_id: str, *, after: int = 0, limit: int = 100
    ) -> list[Message]:
        """Return messages with numbers above ``after``, lowest first; deleted ones are tombstones."""
        ...

    async def recent(self, tenant: int, conversation_id: str, *, upto: int, limit: int) -> list[Message]:
        """Return the ``limit`` messages before and including number ``upto``, newest first."""
        ...

    async def pending(self, tenant: int, conversation_id: str) -> list[Message]:
        """Return the accepted messages that wait for their number, in order of acceptance."""
        ...


@runtime_checkable
class SupportsTaking(Protocol):
    """A store in the memory of this process: conversations can be taken out of it and put in whole.

    None of these waits for anything but its turn.
    """

    def take(self, tenant: int, conversation_id: str) -> "Taken":
        """Return all that there is of a conversation; raises ``NotFound``."""
        ...

    def put_in(self, taken: "Taken") -> Conversation:
        """Keep a conversation as it is given, in the place of one with the same id.

        Messages keep their ids and are numbered in their order; ``tokens`` is taken as it is given.
        What has the same id goes, with its runs and keys; branches of it keep what they share. Its
        version is higher than that of the one that it replaces, or of any that was dropped.

        Raises ``NotFound`` if there is no such agent, ``InvalidInput`` if two messages have one id,
        :class:`~tertulia.errors.SessionMismatch` if its alias names another conversation,
        :class:`~tertulia.errors.ConversationBusy` if a run holds the one that would be replaced, or
        waits in line.
        """
        ...

    def drop(self, tenant: int, conversation_id: str) -> None:
        """Forget a conversation that no other is a branch of, with its runs, states and keys.

        Nothing happens if it is not there; raises ``ConversationBusy`` while a run holds it or waits
        in line, ``InvalidInput`` if a branch shares messages of it, and
        :class:`~tertulia.errors.StoreBusy` if somebody uses the store at this moment: ask again. It is
        the only one of these that does not wait, so that whoever collects garbage may call it.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A conversation with everything that is kept of it, its runs left out."""

    conversation: Conversation
    messages: tuple[Message, ...]
    states: Mapping[str, str] = field(default_factory=dict)
    """JSON texts by source."""


class JobStore(Protocol):
    """What is to be done after commits: each job at least once.

    Laws: a job is stored by the commit that wants it, or not at all. Whoever claims one has it for
    as long as its lease; what it says about the job after that, somebody else having claimed it, is
    ignored. ``claimed`` below is the job as :meth:`claim` returned it.
    """

    async def claim(
        self, owner: str, kinds: Collection[str], *, limit: int, lease_us: int
    ) -> list[StoredJob]:
        """Take jobs of these kinds that are due, oldest due first, with ``attempt`` plus one.

        Those whose lease has run out are due as well.
        """
        ...

    async def finish(self, claimed: StoredJob) -> None:
        """Note that a job is done: it is gone."""
        ...

    async def postpone(self, claimed: StoredJob, *, due_at: int, error: str) -> None:
        """Put a job back that failed, until ``due_at``."""
        ...

    async def bury(self, claimed: StoredJob, *, error: str) -> None:
        """Note that a job is given up: it stays, dead, to be looked at."""
        ...

    async def revive(self, tenant: int, job_id: str) -> StoredJob:
        """Have a dead job done after all, at once, with no attempts; any other stays as it is.

        Raises ``NotFound``.
        """
        ...

    async def get(self, tenant: int, job_id: str) -> StoredJob:
        """Return a job; raises ``NotFound``, also of one that is done."""
        ...

    async def page(
        self, tenant: int, *, status: JobStatus | None = None, after: str | None = None, limit: int = 100
    ) -> list[StoredJob]:
        """Return jobs, of one status or of all."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether a store can be worked with."""

    ready: bool
    detail: str
    """What is wrong and what to do about it; a version when all is well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """What an installation may choose about its store; each plug takes what concerns it."""

    synchronous: Literal["FULL", "NORMAL"] = "FULL"
    """SQLite: NORMAL is faster, and may lose acknowledged commits when the power fails."""
    busy_seconds: float = 5.0
    """SQLite: how long to wait for another process's write."""
    connections: int = 8
    """PostgreSQL: most connections of this process, besides the one that renews leases."""


class Store(Protocol):
    """A place where everything is kept."""

    @classmethod
    def from_url(cls, url: str, options: StoreOptions) -> Self:
        """Make the store that this URL names; nothing is opened yet."""
        ...

    @property
    def agents(self) -> AgentStore:
        """Agents and their versions."""
        ...

    @property
    def conversations(self) -> ConversationStore:
        """Conversations and messages."""
        ...

    @property
    def runs(self) -> RunStore:
        """The ledger of runs."""
        ...

    @property
    def jobs(self) -> JobStore:
        """What is to be done after commits."""
        ...

    @property
    def states(self) -> StateStore:
        """What providers keep of conversations and users."""
        ...

    @property
    def documents(self) -> DocumentStore:
        """Documents and what can be found in them."""
        ...

    async def open(self) -> None:
        """Connect; SQLite also migrates. Raises ``StoreUnavailable`` when that cannot be done.

        May be called when it is open already, or by several at once: nothing happens, and one
        :meth:`close` is enough. A closed store can be opened again.
        """
        ...

    async def close(self) -> None:
        """Let go of every connection and thread; may be called twice."""
        ...

    async def health(self) -> Health:
        """Say whether the store answers and stands at the newest migration; never raises."""
        ...


__all__ = [
    "AgentStore",
    "ConversationStore",
    "DocumentStore",
    "Health",
    "JobStore",
    "KeptState",
    "RunReader",
    "RunStore",
    "StateStore",
    "Store",
    "StoreOptions",
    "SupportsTaking",
    "Taken",
]
