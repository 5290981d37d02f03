"""The decisions that all stores share."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.conversations import (
    Branch,
    Claimant,
    Commit,
    Lease,
    Multitask,
    NewConversation,
    Run,
    RunStatus,
    Step,
    Stop,
)
from tertulia.errors import (
    ConversationBusy,
    ConversationClosed,
    ConversationMovedOn,
    HeadMoved,
    IdempotencyMismatch,
    LeaseLost,
    NotWaiting,
    RunCancelled,
    StopRequested,
    TertuliaError,
)
from tertulia.messages import Flag
from tertulia.stores.rules import (
    STOPPED,
    Fate,
    Standing,
    admit,
    appends,
    attempt_given_back,
    can_perform,
    check_lease,
    check_open,
    check_stop,
    decide,
    is_held,
    is_repeated,
    key_scopes,
    repeat,
    replaces,
    stop_for,
)
from tertulia.testing.builders import (
    CANCELLED,
    COMPLETED,
    FAILED,
    a_digest,
    a_finish,
    a_step,
    a_wait,
    an_answer,
    an_intent,
)

FREE = Standing(head=4)
HELD = Standing(head=4, holder=True)
QUEUED = Standing(head=4, queued=True)
CLOSED = Standing(head=4, closed="The goal is reached.")
BUSY = (HELD, QUEUED, Standing(head=4, holder=True, queued=True))
RUN = Run(
    tenant=0,
    id="run",
    conversation_id="conv",
    n=1,
    status=RunStatus.FAILED,
    performer="agent",
    input_number=4,
    epoch=2,
)
MESSAGE = an_answer()
STEP = a_step()
BRANCH = Branch(source="mine", at=4, tokens=0, id="conv")
LEASE = Lease(tenant=0, run_id="run", conversation_id="conv", epoch=2, owner="proc")


def test_request_begins_on_a_free_conversation() -> None:
    assert admit(FREE, multitask="enqueue") == "claim"
    assert admit(FREE, multitask="reject", expected_head=4) == "claim"


@pytest.mark.parametrize("standing", BUSY)
def test_request_waits_unless_it_does_not_want_to(standing: Standing) -> None:
    assert admit(standing, multitask="enqueue") == "queue"
    with pytest.raises(ConversationBusy):
        admit(standing, multitask="reject")


@pytest.mark.parametrize("multitask", ["interrupt", "rollback"])
def test_who_interrupts_waits_in_line_like_everybody_else(multitask: Multitask) -> None:
    assert admit(FREE, multitask=multitask, expected_head=4) == "claim"
    for standing in BUSY:
        assert admit(standing, multitask=multitask) == "queue"
        with pytest.raises(HeadMoved):
            admit(standing, multitask=multitask, expected_head=4)


def test_only_who_interrupts_has_the_holder_stopped() -> None:
    wishes: dict[Multitask, Stop] = {
        "enqueue": Stop.NONE,
        "reject": Stop.NONE,
        "interrupt": Stop.INTERRUPT,
        "rollback": Stop.ROLLBACK,
    }

    assert {multitask: stop_for(multitask) for multitask in wishes} == wishes


def test_run_that_was_stopped_is_raised_as_cancelled() -> None:
    assert type(TertuliaError.of(STOPPED)) is RunCancelled


@pytest.mark.parametrize("standing", BUSY)
def test_expected_head_is_not_certain_while_anything_is_under_way(standing: Standing) -> None:
    with pytest.raises(HeadMoved):
        admit(standing, multitask="reject", expected_head=4)


@given(head=st.integers(0, 9), expected=st.integers(0, 9))
def test_only_the_expected_head_will_do(head: int, expected: int) -> None:
    if head == expected:
        assert admit(Standing(head=head), multitask="enqueue", expected_head=expected) == "claim"
        return
    with pytest.raises(HeadMoved):
        admit(Standing(head=head), multitask="enqueue", expected_head=expected)


@pytest.mark.parametrize("reason", ["The goal is reached.", "the goal is reached", "", " . "])
def test_closed_conversation_says_why(reason: str) -> None:
    with pytest.raises(ConversationClosed, match="come to its end") as refused:
        check_open(Standing(closed=reason))

    assert ("goal is reached" in str(refused.value)) is bool(reason.strip(" ."))
    check_open(Standing(closed=reason), reopens=True)


def test_being_closed_counts_before_anything_else() -> None:
    for standing in (CLOSED, replace(CLOSED, holder=True), replace(CLOSED, queued=True)):
        with pytest.raises(ConversationClosed):
            admit(standing, multitask="reject", expected_head=9)
        with pytest.raises(HeadMoved):
            admit(standing, multitask="reject", expected_head=9, reopens=True)
    assert admit(CLOSED, multitask="reject", expected_head=4, reopens=True) == "claim"


def test_failed_run_is_repeated_in_a_closed_conversation_only_to_open_it() -> None:
    with pytest.raises(ConversationClosed):
        repeat(RUN, CLOSED, request_hash=b"a", stored_hash=b"a", fate=Fate())

    assert repeat(RUN, CLOSED, request_hash=b"a", stored_hash=b"a", fate=Fate(), reopens=True) == "again"


@pytest.mark.parametrize("status", [s for s in RunStatus if s is not RunStatus.FAILED])
@pytest.mark.parametrize("standing", [FREE, CLOSED, *BUSY])
def test_known_key_joins_all_but_failed_runs(status: RunStatus, standing: Standing) -> None:
    earlier = replace(RUN, status=status)

    assert repeat(earlier, standing, request_hash=b"a", stored_hash=b"a", fate=Fate()) == "join"


def test_failed_run_is_repeated_in_its_place() -> None:
    assert repeat(RUN, FREE, request_hash=b"a", stored_hash=b"a", fate=Fate()) == "again"


@pytest.mark.parametrize("standing", BUSY)
def test_failed_run_is_not_repeated_beside_another(standing: Standing) -> None:
    with pytest.raises(ConversationMovedOn):
        repeat(RUN, standing, request_hash=b"a", stored_hash=b"a", fate=Fate())


@pytest.mark.parametrize(
    "fate", [Fate(is_newest=False), Fate(flags=Flag.WITHDRAWN), Fate(flags=Flag.DELETED)]
)
def test_failed_run_is_not_repeated_elsewhere(fate: Fate) -> None:
    with pytest.raises(ConversationMovedOn):
        repeat(RUN, FREE, request_hash=b"a", stored_hash=b"a", fate=fate)


@pytest.mark.parametrize("status", list(RunStatus))
def test_key_stands_for_one_request(status: RunStatus) -> None:
    with pytest.raises(IdempotencyMismatch):
        repeat(replace(RUN, status=status), FREE, request_hash=b"a", stored_hash=b"b", fate=Fate())


def test_key_is_kept_with_what_the_request_names() -> None:
    fresh = NewConversation(id="conv", agent_id="agent")
    aliased = replace(fresh, alias="mine")

    assert key_scopes("mine", existing="conv") == ("conv",)
    assert key_scopes(fresh, existing="conv") == ("conv",)
    assert key_scopes(aliased, existing=None) == ("conv",)
    assert key_scopes(fresh, existing=None) == ("agent", "conv")
    assert key_scopes(BRANCH, existing="source") == ("source",)


def test_request_appends_where_it_may_and_the_source_stands_free() -> None:
    may = replace(BRANCH, or_append=True)

    assert appends(may, FREE)
    assert not appends(BRANCH, FREE)
    for standing in (*BUSY, Standing(head=3), Standing(head=5), Standing()):
        assert not appends(may, standing)


@pytest.mark.parametrize(
    ("new", "stored", "replaced"),
    [
        (STEP, replace(STEP, output="other"), False),
        (replace(STEP, ended_at=0), STEP, False),
        (STEP, replace(STEP, identity=a_digest("other")), True),
        (STEP, replace(STEP, ended_at=0), True),
        (an_intent(), an_intent(), True),
    ],
)
def test_step_makes_room_if_it_has_not_ended_or_is_another(new: Step, stored: Step, replaced: bool) -> None:
    assert replaces(new, stored) is replaced


@pytest.mark.parametrize("status", list(RunStatus))
def test_run_that_waits_is_decided_about_once(status: RunStatus) -> None:
    assert decide(STEP, STEP.identity, status=status) == "join"
    with pytest.raises(NotWaiting):
        decide(STEP, a_digest("other"), status=status)
    if status is RunStatus.WAITING:
        assert decide(STEP, None, status=status) == "go on"
        return
    with pytest.raises(NotWaiting):
        decide(STEP, None, status=status)


@pytest.mark.parametrize("stop", list(Stop))
@pytest.mark.parametrize(
    "commit",
    [Commit(), Commit(ending=COMPLETED), Commit(ending=FAILED), Commit(wait=a_wait()), a_finish("answer")],
)
def test_run_that_is_to_stop_writes_no_more(stop: Stop, commit: Commit) -> None:
    check_stop(stop, a_finish("half", ending=CANCELLED))
    if stop is Stop.NONE:
        check_stop(stop, commit)
        return
    with pytest.raises(StopRequested):
        check_stop(stop, commit)


def test_claimant_carries_out_what_it_has_performers_for() -> None:
    claimant = Claimant(owner="proc", performers=frozenset({"agent"}), lease_us=1)

    assert can_perform(claimant, "agent")
    assert not can_perform(claimant, "other")
    assert not can_perform(None, "agent")


@pytest.mark.parametrize(
    ("status", "epoch", "held"),
    [
        (RunStatus.RUNNING, 2, True),
        (RunStatus.RUNNING, 3, False),
        (RunStatus.QUEUED, 2, False),
        (RunStatus.WAITING, 2, False),
        (RunStatus.COMPLETED, 2, False),
        (None, 2, False),
    ],
)
def test_lease_stands_for_one_epoch_of_a_running_run(
    status: RunStatus | None, epoch: int, held: bool
) -> None:
    assert is_held(LEASE, status=status, epoch=epoch) is held
    if held:
        check_lease(LEASE, status=status, epoch=epoch)
        return
    with pytest.raises(LeaseLost) as lost:
        check_lease(LEASE, status=status, epoch=epoch)
    assert lost.value.run_id == "run"


@pytest.mark.parametrize(
    ("commit", "status", "is_written", "repeated"),
    [
        (Commit(), RunStatus.RUNNING, False, False),
        (Commit(messages=(MESSAGE,)), RunStatus.RUNNING, True, True),
        (Commit(messages=(MESSAGE,)), RunStatus.COMPLETED, True, True),
        (Commit(messages=(MESSAGE,)), RunStatus.RUNNING, False, False),
        (Commit(ending=COMPLETED), RunStatus.RUNNING, False, False),
        (Commit(ending=COMPLETED), RunStatus.COMPLETED, False, True),
        (Commit(ending=COMPLETED), RunStatus.FAILED, False, False),
        (Commit(messages=(MESSAGE,), ending=COMPLETED), RunStatus.COMPLETED, True, True),
        (Commit(messages=(MESSAGE,), ending=COMPLETED), RunStatus.COMPLETED, False, False),
        (Commit(wait=a_wait()), RunStatus.WAITING, False, True),
        (Commit(wait=a_wait()), RunStatus.RUNNING, False, False),
        (Commit(messages=(MESSAGE,), wait=a_wait()), RunStatus.COMPLETED, True, False),
    ],
)
def test_commit_is_known_again(commit: Commit, status: RunStatus, is_written: bool, repeated: bool) -> None:
    assert is_repeated(commit, LEASE, status=status, epoch=2, is_written=is_written) is repeated
    assert not is_repeated(commit, LEASE, status=status, epoch=3, is_written=is_written)


def test_claim_given_back_does_not_count() -> None:
    assert [attempt_given_back(attempt) for attempt in (0, 1, 3)] == [0, 0, 2]
