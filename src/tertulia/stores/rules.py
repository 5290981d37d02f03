"""What becomes of a request, decided from plain facts: the same for every store."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from tertulia import ids
from tertulia.conversations import (
    Branch,
    Claimant,
    Commit,
    Conversation,
    Lease,
    Multitask,
    NewConversation,
    Run,
    RunStatus,
    Step,
    Stop,
)
from tertulia.definitions import StoredAgent
from tertulia.errors import (
    ConversationBusy,
    ConversationClosed,
    ConversationMovedOn,
    Failure,
    HeadMoved,
    IdempotencyMismatch,
    InvalidInput,
    LeaseLost,
    NotWaiting,
    SessionMismatch,
    StopRequested,
    VersionMoved,
)
from tertulia.messages import HIDDEN, Flag, Message, check_text
from tertulia.parts import encode_content
from tertulia.stores.states import USER_SCOPE

SUSPECT_ATTEMPTS: Final = 2
"""After so many claims without a trace in the journal a run may be what ends its processes."""
KEY_LIFE_US: Final = 24 * 60 * 60 * 1_000_000
"""How long after its first acceptance an idempotency key is known; later it is a new one."""
STATE_MOVED: Final = "somebody else has written this state meanwhile; read it again"
STANDS_ELSEWHERE: Final = "a message with one of these ids stands in another conversation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a conversation stands when a request reaches it."""

    head: int = 0
    holder: bool = False
    """Whether a run is running or waiting."""
    queued: bool = False
    """Whether accepted runs wait to be claimed."""
    closed: str | None = None
    """Why it takes no further message; ``None`` while it does."""

    @property
    def is_free(self) -> bool:
        """Whether nothing holds the conversation and nothing waits for it."""
        return not (self.holder or self.queued)


def admit(
    standing: Standing, *, multitask: Multitask, expected_head: int | None = None, reopens: bool = False
) -> Literal["claim", "queue"]:
    """Say whether a new run may begin at once or has to wait.

    Raises what :func:`check_open` raises; then :class:`~tertulia.errors.HeadMoved` if a head is
    expected and the conversation is elsewhere or about to move, else
    :class:`~tertulia.errors.ConversationBusy` if the request does not want to wait and would have to.
    Who interrupts or rolls back waits in line like everybody else; :func:`stop_for` says what becomes
    of the holder.
    """
    check_open(standing, reopens=reopens)
    if expected_head is not None and (expected_head != standing.head or not standing.is_free):
        raise HeadMoved(f"the conversation is at message {standing.head}, or about to move on from it")
    if standing.is_free:
        return "claim"
    if multitask == "reject":
        raise ConversationBusy
    return "queue"


def check_open(standing: Standing, *, reopens: bool = False) -> None:
    """Return if the conversation takes a message, or the request opens it again.

    Raises :class:`~tertulia.errors.ConversationClosed`, which tells why it was closed.
    """
    if standing.closed is None or reopens:
        return
    reason = standing.closed.strip().rstrip(".")
    raise ConversationClosed(f"this conversation has come to its end: {reason}" if reason else "")


def stop_for(multitask: Multitask) -> Stop:
    """Return what the holder of a conversation is asked for when a request of this kind arrives."""
    return _STOPS.get(multitask, Stop.NONE)


_STOPS: Final[dict[str, Stop]] = {"interrupt": Stop.INTERRUPT, "rollback": Stop.ROLLBACK}

STOPPED: Final = Failure(code="run_cancelled", message="The run was cancelled before it went on.")
"""Why a run has no answer that was stopped while nobody carried it out."""


def appends(branch: Branch, standing: Standing) -> bool:
    """Whether a request that would branch goes on in the source itself; ``standing`` is the source's."""
    return branch.or_append and branch.at == standing.head and standing.is_free


def replaces(new: Step, stored: Step) -> bool:
    """Whether a step takes the place of the one that is journaled under its path."""
    return stored.ended_at == 0 or stored.identity != new.identity


def decide(decision: Step, stored: bytes | None, *, status: RunStatus) -> Literal["join", "go on"]:
    """Say what becomes of a decision; ``stored`` is the identity of the step that has its path already.

    Raises :class:`~tertulia.errors.NotWaiting` if something else was decided, or nothing is to be.
    """
    if stored is None and status is RunStatus.WAITING:
        return "go on"
    if stored != decision.identity:
        raise NotWaiting
    return "join"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What has become of the message of a run since."""

    flags: Flag = Flag.NONE
    is_newest: bool = True
    """Whether nothing comes after it but what failed runs have done in answer to it."""


def repeat(
    earlier: Run,
    standing: Standing,
    *,
    request_hash: bytes,
    stored_hash: bytes,
    fate: Fate,
    reopens: bool = False,
) -> Literal["join", "again"]:
    """Say what becomes of a request whose key is known.

    ``earlier`` is the newest run on the message that was accepted with the key (a retried run has
    a successor on the same message, and that one answers for the key), ``standing`` is that of its
    conversation. What the request expects of the head, or not to wait, was settled the first time.

    Raises :class:`~tertulia.errors.IdempotencyMismatch`, and, unless an earlier run is joined, what
    :func:`check_open` and :func:`check_repeatable` raise.
    """
    if request_hash != stored_hash:
        raise IdempotencyMismatch
    if earlier.status is not RunStatus.FAILED:
        return "join"
    check_open(standing, reopens=reopens)
    check_repeatable(earlier, standing, fate)
    return "again"


def went_before(last: Run, run: Run) -> bool:
    """Whether the run that has said the newest message was broken off at the same message as another."""
    is_broken_off = last.status in {RunStatus.FAILED, RunStatus.CANCELLED}
    return is_broken_off and last.input_message_id == run.input_message_id


def check_repeatable(earlier: Run, standing: Standing, fate: Fate) -> None:
    """Return if a new run on the same input message may take this one's place.

    Raises :class:`~tertulia.errors.ConversationMovedOn` if it has not failed, if its message was
    withdrawn or erased, if anything comes after it but what failed runs have done in answer to it, or
    if anything holds the conversation or waits for it.
    """
    if fate.flags & HIDDEN:
        raise ConversationMovedOn("the message of this run was withdrawn, or erased")
    if earlier.status is not RunStatus.FAILED:
        raise ConversationMovedOn("only a failed run can be repeated")
    if not fate.is_newest or not standing.is_free:
        raise ConversationMovedOn


def check_whose(new: NewConversation, found: Conversation) -> None:
    """Raise :class:`~tertulia.errors.SessionMismatch` if what is there is another agent's or user's.

    Who names no user may have it.
    """
    if new.agent_id != found.agent_id:
        raise SessionMismatch("this conversation belongs to another agent")
    if new.user_id is not None and new.user_id != found.user_id:
        raise SessionMismatch("this conversation belongs to another user, or to nobody")


def key_scopes(named: str | NewConversation | Branch, *, existing: str | None) -> tuple[str, ...]:
    """Return the scopes under which a request's key is kept; it is looked up under the first alone.

    ``existing`` is the id of the conversation that the request names (of a branch: its source's),
    ``None`` if it is to be made.
    A conversation named by alias or id is found again by the same request, so its own id is the
    scope. One made without an alias may get another id when the request comes again: there the
    agent's id is the scope, and the conversation's own as well, in case the id is the same.
    """
    if existing is not None:
        return (existing,)
    if not isinstance(named, NewConversation):
        return ()
    return (named.id,) if named.alias is not None else (named.agent_id, named.id)


def check_version(newest: StoredAgent, expected_version: int | None) -> None:
    """Return if an agent is at the version that a change of it expects, if it expects any.

    Raises :class:`~tertulia.errors.VersionMoved`.
    """
    if expected_version not in {None, newest.version}:
        raise VersionMoved(f"the agent is at version {newest.version} by now; ask again")


def check_sayable(messages: Sequence[Message], tokens: Sequence[int]) -> None:
    """Return if these can be put at the end of a conversation; raises ``InvalidInput``."""
    if len(messages) != len(tokens):
        raise InvalidInput("it must be said of every message how many tokens it has, and of no other")
    for message in messages:
        if not ids.is_id(message.id, prefix=ids.MESSAGE):
            raise InvalidInput(f"the ids of messages look like {ids.MESSAGE}_ and 32 hexadecimal digits here")
        check_text(message.author or "", what="the author of a message")
        _check_content(message)


def _check_content(message: Message) -> None:
    try:
        encode_content(message.content)
    except TypeError as error:
        raise InvalidInput("a message holds half of a surrogate pair; send valid Unicode") from error


def check_appendable(standing: Standing) -> None:
    """Return if messages can be put at the end of a conversation, no run being begun.

    Raises what :func:`check_open` raises, then :class:`~tertulia.errors.ConversationBusy`.
    """
    check_open(standing)
    if not standing.is_free:
        raise ConversationBusy("a run holds the conversation, or waits in line; ask again when it has ended")


def not_there(
    messages: Sequence[Message], tokens: Sequence[int], *, there: Container[str]
) -> list[tuple[Message, int]]:
    """Return the messages that do not stand in a conversation yet, each once, with their tokens."""
    first: dict[str, tuple[Message, int]] = {}
    for message, size in zip(messages, tokens, strict=True):
        if message.id not in there:
            first.setdefault(message.id, (message, size))
    return list(first.values())


def said_elsewhere(message: Message, *, number: int, at: int) -> Message:
    """Return a message as it stands in the log that no run of this conversation has said."""
    return replace(
        message, number=number, run_id=None, turn=0, created_at=message.created_at or at, stands_for=()
    )


def is_of_user(scope: str) -> bool:
    """Whether the scope of a state is a user; all others are conversations."""
    return scope.startswith(USER_SCOPE)


def check_state(version: int, expected_version: int) -> None:
    """Return if a state is at the version that was read; raises :class:`~tertulia.errors.VersionMoved`."""
    if version != expected_version:
        raise VersionMoved(STATE_MOVED)


def can_perform(claimant: Claimant | None, performer: str) -> bool:
    """Whether there is a claimant and it can carry out this performer's runs."""
    return claimant is not None and performer in claimant.performers


def check_lease(lease: Lease, *, status: RunStatus | None, epoch: int) -> None:
    """Return if the run still is its holder's; ``status`` is ``None`` for a run that is not there.

    Raises :class:`~tertulia.errors.LeaseLost`.
    """
    if not is_held(lease, status=status, epoch=epoch):
        raise LeaseLost().in_run(lease.run_id)


def has_grown(commit: Commit) -> bool:
    """Whether a commit is progress, so that the attempts before it no longer count.

    An intent is none: a step that ends its process every time would never be given up.
    """
    return bool(commit.messages) or any(step.ended_at for step in commit.steps)


def check_stop(stop: Stop, commit: Commit) -> None:
    """Return unless the run was asked to stop and this is not its end as cancelled.

    Raises :class:`~tertulia.errors.StopRequested`.
    """
    if stop and (commit.ending is None or commit.ending.status is not RunStatus.CANCELLED):
        raise StopRequested


def is_held(lease: Lease, *, status: RunStatus | None, epoch: int) -> bool:
    """Whether a lease stands for the run's present epoch and the run has not ended."""
    return status is RunStatus.RUNNING and epoch == lease.epoch


def is_repeated(
    commit: Commit, lease: Lease, *, status: RunStatus | None, epoch: int, is_written: bool
) -> bool:
    """Whether this very commit has happened before, its acknowledgement having been lost.

    ``is_written`` says whether the last of its messages is in the log.
    """
    if epoch != lease.epoch or (commit.ending is not None and status is not commit.ending.status):
        return False
    if commit.wait is not None:
        return status is RunStatus.WAITING
    return is_written if commit.messages else commit.ending is not None


def attempt_given_back(attempt: int) -> int:
    """Return a released run's attempts: the claim that is given back does not count."""
    return max(0, attempt - 1)
