"""The port to the ledger of runs: the only way in which a conversation grows.

The laws of :mod:`tertulia.stores.base` hold here too.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

from tertulia.conversations import (
    Accepted,
    Claim,
    Claimant,
    Commit,
    Committed,
    Frame,
    Lease,
    Once,
    Run,
    Step,
    Stop,
    Stopped,
    Submission,
)


class RunReader(Protocol):
    """What can be read of runs."""

    async def get(self, tenant: int, run_id: str) -> Run:
        """Return a run; raises ``NotFound``."""
        ...

    async def steps(self, tenant: int, run_id: str) -> list[Step]:
        """Return what is journaled of a run, in order; outputs are empty once it has ended."""
        ...

    async def page(self, tenant: int, conversation_id: str, *, after: int = 0, limit: int = 100) -> list[Run]:
        """Return the runs of a conversation in order of acceptance: those with ``n`` above ``after``."""
        ...

    async def waiting(self, tenant: int, *, after: str | None = None, limit: int = 100) -> list[Run]:
        """Return the runs that wait for a decision."""
        ...

    async def frames(self, tenant: int, run_id: str, *, after: int = -1, limit: int = 100) -> list[Frame]:
        """Return stored frames that end above sequence number ``after``, in order."""
        ...


class RunStore(RunReader, Protocol):
    """The ledger of runs: the only way in which a conversation grows.

    Laws: a conversation has at most one run that is running or waiting; runs begin and end in the
    order in which they were accepted; every write for a run names a lease and is refused with
    :class:`~tertulia.errors.LeaseLost`, without effect, if the run has got another epoch or has
    ended. A run that was asked to stop ends as cancelled, whatever its holder does. Lock order: the
    conversation first, then the run.
    """

    async def accept(self, submission: Submission, claimant: Claimant | None) -> Accepted:
        """Take in a request, once per idempotency key and what the request names.

        If nothing holds or waits, the user's message is numbered ``head + 1`` and the run given to
        the claimant; else (or without a claimant that can perform it) the run is queued and its
        message numbered when the run is claimed. ``multitask="interrupt"`` and ``"rollback"`` queue
        it as well, behind those that wait already, and stop the run that holds the conversation as
        :meth:`stop` does; if that one ends at once, the first in the queue is given to the claimant.

        A :class:`~tertulia.conversations.Branch` is made in the same transaction as by
        :meth:`ConversationStore.fork`, or not at all where it may append and can.

        The same key again returns the newest run on the message that it was used for, with
        ``is_new=False``; if that run has failed, a new run on the same message takes its place, with
        the performer and options of this request, or
        :class:`~tertulia.errors.ConversationMovedOn` is raised when anything comes after that message
        but what failed runs have done in answer to it, or anything holds or waits. A key is known for
        24 hours in the conversation that was named (of a branch: its source); where one without an
        alias was to be made, also in its agent.

        A closed conversation takes nothing (:class:`~tertulia.errors.ConversationClosed`), nor a new
        run on an old message, nor what would be appended to it by way of a branch; unless the
        submission ``reopens`` it: then it is open in the same transaction. What was accepted before
        it was closed is carried out.

        Raises also ``NotFound`` and ``SessionMismatch``, as :meth:`ConversationStore.create` and
        :meth:`ConversationStore.fork` do; :class:`~tertulia.errors.IdempotencyMismatch`,
        :class:`~tertulia.errors.ConversationBusy` (``multitask="reject"``), before that
        :class:`~tertulia.errors.HeadMoved`, and before that ``ConversationClosed``.
        """
        ...

    async def retry(
        self, tenant: int, run_id: str, new_run_id: str, claimant: Claimant, *, once: Once | None = None
    ) -> Accepted:
        """Make a new run on the input message of a failed one.

        Raises ``NotFound``, ``ConversationClosed``, and ``ConversationMovedOn`` if the run has not
        failed or under the conditions of ``accept``, or if its message was withdrawn or erased. The
        scope of ``once`` is the failed run; asked again with it, the new run is returned, with
        ``is_new=False``.
        """
        ...

    async def stop(self, tenant: int, run_id: str, how: Stop, claimant: Claimant | None) -> Stopped:
        """Have a run end as cancelled; returns it as it stands then. May be asked any number of times.

        A run that has ended stays as it is. One that is queued or waiting ends at once, and what
        waited behind it may be given to the claimant; so does one that is running and whose lease has
        run out, and its epoch rises: whoever carried it out may be gone for ever. One that is held is
        asked to: its ``stop`` becomes the greater of what it was and ``how``, and its holder ends it.
        The message of a run that ends before it was numbered never gets a number; its run keeps it.
        When a run ends that was asked to roll back, its messages and the one that it answers are
        withdrawn as by :meth:`ConversationStore.mark`.

        The ``failure`` of a run that ends here has the code ``run_cancelled``. Raises ``NotFound``.
        """
        ...

    async def asked(self, leases: Sequence[Lease]) -> dict[str, Stop]:
        """Return those of these runs that were asked to stop, and how; lost leases are passed over."""
        ...

    async def decide(self, tenant: int, run_id: str, decision: Step, claimant: Claimant) -> Accepted:
        """Let a waiting run go on, with a decision in its journal.

        The run gets the next epoch and no attempts, and is given to the claimant with its journal;
        if the claimant cannot perform it, it is left for one that can, as if released. The same
        decision again, a step of this path and identity being journaled already, changes nothing and
        returns the run with ``is_new=False``: each decision needs a path of its own, not that of the
        step it is about, and an identity that tells what was decided, also once the run has ended.

        Raises ``NotFound``, and :class:`~tertulia.errors.NotWaiting` if the run is not waiting, or
        something else was decided under this path.
        """
        ...

    async def claim(
        self,
        claimant: Claimant,
        *,
        limit: int,
        busy_with: Collection[str] = (),
        suspects: bool = False,
    ) -> list[Claim]:
        """Take over runs whose lease has run out, and start queued ones that nothing holds back.

        Only runs whose performer the claimant has. A run taken over gets the next epoch, ``attempt``
        plus one, and comes with its journaled steps. ``busy_with`` are runs that the claimant still
        carries out: those it does not take from itself, however late its leases were renewed.

        A waiting run whose time is over is taken over as well: its status is running then, and its
        ``wait`` tells what nobody has decided.

        Runs whose ``attempt`` has reached ``SUSPECT_ATTEMPTS`` may be what ends their processes:
        they are left out, or, with ``suspects``, the only ones that are looked for.
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
        commit again, its acknowledgement having been lost, is acknowledged and writes nothing,
        whatever was asked of the run since.
        With a ``wait`` the lease is over as well, and the run goes on holding its conversation.
        With ``closes`` the conversation takes no further message from then on.

        Finished steps and messages are progress: ``attempt`` is 0 after them. An intent is none.

        A step whose path is journaled already replaces the one that stands there if that is an
        intent (``ended_at`` 0) or has another identity; else it is ignored. A frame that begins
        where a stored one begins replaces it if it is longer.

        Raises :class:`~tertulia.errors.StopRequested`, without effect, if the run was asked to stop
        and this is not its end as cancelled.
        """
        ...

    async def record(self, told: Sequence[tuple[Lease, Frame]]) -> set[str]:
        """Store events of several runs; return the ids of those whose events are stored.

        Of a run that is no longer held, nothing is stored; of one whose row is locked just now,
        nothing yet. Frames are stored as by :meth:`commit`.
        """
        ...

    async def prune(self, *, before: int, limit: int) -> int:
        """Let go of events stored before a time (microseconds since 1970) and of keys that are over.

        The events of a run are kept until it has ended, and that before this time. Of events and of
        keys at most ``limit`` each, of all tenants; messages, runs and steps stay. Returns how many
        rows are gone.
        """
        ...
