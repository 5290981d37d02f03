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
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self

from tertulia.conversations import (
    Accepted,
    Claim,
    Claimant,
    Commit,
    Committed,
    Conversation,
    Frame,
    Lease,
    NewConversation,
    Run,
    Step,
    Submission,
)
from tertulia.definitions import Agent, AgentDefinition
from tertulia.messages import Message


class AgentStore(Protocol):
    """Agents and the versions of their definitions."""

    async def create(self, tenant: int, agent_id: str, definition: AgentDefinition) -> Agent:
        """Store a new agent at version 1.

        Raises :class:`~tertulia.errors.DuplicateName` if the tenant has one of this name.
        """
        ...

    async def get(self, tenant: int, agent: str, *, version: int | None = None) -> Agent:
        """Return an agent by id or by name, at its newest version or the one given.

        Raises :class:`~tertulia.errors.NotFound`.
        """
        ...

    async def update(self, tenant: int, agent_id: str, definition: AgentDefinition) -> Agent:
        """Store a new version, newest from now on; earlier versions stay readable.

        A definition equal to the newest makes no version. Raises ``NotFound``, ``DuplicateName``.
        """
        ...

    async def page(self, tenant: int, *, after: str | None = None, limit: int = 100) -> list[Agent]:
        """Return agents at their newest version."""
        ...


class ConversationStore(Protocol):
    """Conversations and their messages; runs alone write messages."""

    async def create(self, tenant: int, new: NewConversation) -> Conversation:
        """Make a conversation, or return the one that already has this alias or id, unchanged.

        Raises ``NotFound`` if there is no such agent, and
        :class:`~tertulia.errors.SessionMismatch` if the conversation belongs to another agent.
        """
        ...

    async def get(self, tenant: int, conversation: str) -> Conversation:
        """Return a conversation by id or alias; raises ``NotFound``."""
        ...

    async def page(
        self, tenant: int, agent_id: str, *, after: str | None = None, limit: int = 100
    ) -> list[Conversation]:
        """Return the conversations of an agent; an unknown agent has none."""
        ...

    async def newest(
        self, tenant: int, agent_ids: Sequence[str], *, each: int
    ) -> dict[str, list[Conversation]]:
        """Return for every agent its ``each`` newest conversations, oldest of them first.

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


class RunStore(Protocol):
    """The ledger of runs: the only way in which a conversation grows.

    Laws: a conversation has at most one run that is running or waiting; runs begin and end in the
    order in which they were accepted; every write for a run names a lease and is refused with
    :class:`~tertulia.errors.LeaseLost`, without effect, if the run has got another epoch or has
    ended. Lock order: the conversation first, then the run.
    """

    async def accept(self, submission: Submission, claimant: Claimant | None) -> Accepted:
        """Take in a request, once per idempotency key and what the request names.

        If nothing holds or waits, the user's message is numbered ``head + 1`` and the run given to
        the claimant; else (or without a claimant that can perform it) the run is queued and its
        message numbered when the run is claimed.

        The same key again returns the newest run on the message that it was used for, with
        ``is_new=False``; if that run has failed, a new run on the same message takes its place, with
        the performer and options of this request, or
        :class:`~tertulia.errors.ConversationMovedOn` is raised when that message is no longer the
        head or anything holds or waits. A key is known for 24 hours in the conversation that was
        named; where one without an alias was to be made, also in its agent.

        Raises also ``NotFound``, ``SessionMismatch``, :class:`~tertulia.errors.IdempotencyMismatch`,
        :class:`~tertulia.errors.ConversationBusy` (``multitask="reject"``), and before that
        :class:`~tertulia.errors.HeadMoved`.
        """
        ...

    async def retry(self, tenant: int, run_id: str, new_run_id: str, claimant: Claimant) -> Accepted:
        """Make a new run on the input message of a failed one.

        Raises ``NotFound``, and ``ConversationMovedOn`` if the run has not failed or under the
        conditions of ``accept``.
        """
        ...

    async def claim(self, claimant: Claimant, *, limit: int, busy_with: Collection[str] = ()) -> list[Claim]:
        """Take over runs whose lease has run out, and start queued ones that nothing holds back.

        Only runs whose performer the claimant has. A run taken over gets the next epoch, ``attempt``
        plus one, and comes with its journaled steps. ``busy_with`` are runs that the claimant still
        carries out: those it does not take from itself, however late its leases were renewed.
        """
        ...

    async def renew(self, leases: Sequence[Lease], *, lease_us: int) -> set[str]:
        """Extend leases by ``lease_us`` microseconds from now; return the ids of the runs still held.

        May be called from another thread's event loop.
        """
        ...

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give runs back so that they can be claimed at once; does not count as an attempt.

        Whoever gave a run back can neither renew nor commit any more.
        """
        ...

    async def commit(self, lease: Lease, commit: Commit, claimant: Claimant | None) -> Committed:
        """Write what the holder of a lease has done.

        With an ending the lease is over, and the next queued run of the conversation is given to
        the claimant, if it can perform it; the head then counts that run's message too. The same
        commit again, its acknowledgement having been lost, is acknowledged and writes nothing.
        """
        ...

    async def get(self, tenant: int, run_id: str) -> Run:
        """Return a run; raises ``NotFound``."""
        ...

    async def steps(self, tenant: int, run_id: str) -> list[Step]:
        """Return what is journaled of a run, in order; outputs are empty once it has ended."""
        ...

    async def frames(self, tenant: int, run_id: str, *, after: int = -1) -> list[Frame]:
        """Return stored events with sequence numbers above ``after``, in order."""
        ...

    async def prune(self, *, before: int, limit: int) -> int:
        """Let go of events stored before a time (microseconds since 1970) and of keys that are over.

        Of each at most ``limit``, of all tenants; messages, runs and steps stay. Returns how many
        rows are gone.
        """
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

    async def open(self) -> None:
        """Connect; SQLite also migrates. Raises ``StoreUnavailable`` when that cannot be done."""
        ...

    async def close(self) -> None:
        """Let go of every connection and thread; may be called twice."""
        ...

    async def health(self) -> Health:
        """Say whether the store answers and stands at the newest migration; never raises."""
        ...
