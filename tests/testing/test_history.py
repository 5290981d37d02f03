"""The checker of histories finds every violation, and none where there is none."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tertulia.conversations import Commit, Stop
from tertulia.parts import Reasoning, Text, ToolCall, ToolResult
from tertulia.stores import open_store
from tertulia.testing.builders import (
    COMPLETED,
    a_claimant,
    a_conversation,
    a_failed_run,
    a_finish,
    a_fork,
    a_queued_run,
    a_submission,
    a_waiting_run,
    an_answer,
    an_exchange,
)
from tertulia.testing.history import (
    ConversationRow,
    Crash,
    History,
    MessageRow,
    RunRow,
    Said,
    SegmentRow,
    Witness,
    check,
)
from tertulia.testing.reading import read_history


def _asked(number: int, run: int) -> MessageRow:
    return MessageRow(
        conversation_id="c",
        number=number,
        id=f"u{run}",
        run_id=f"r{run}",
        turn=0,
        role="user",
        text=f"U{run}",
    )


def _answered(number: int, run: int) -> MessageRow:
    return MessageRow(
        conversation_id="c",
        number=number,
        id=f"a{number}",
        run_id=f"r{run}",
        turn=1,
        role="assistant",
        text=f"A{run}",
    )


def _run(n: int, *, at: int, last: int, status: str = "completed") -> RunRow:
    return RunRow(
        id=f"r{n}",
        conversation_id="c",
        n=n,
        status=status,
        epoch=1,
        input_message_id=f"u{n}",
        input_number=at,
        last_number=last,
        created_at=n * 100,
        ended_at=n * 100 + 50,
    )


TALK = [_asked(1, 1), _answered(2, 1), _asked(3, 2), _answered(4, 2)]
RUNS = [_run(1, at=1, last=2), _run(2, at=3, last=4)]
ROW = ConversationRow(id="c", head=4, next_run=3)
GOOD = History(conversations=[ROW], messages=TALK, runs=RUNS)
SAID = [Said(conversation_id="c", text=f"U{i}", answer=f"A{i}", is_acknowledged=True) for i in (1, 2)]
CALLS = {"U1": 1, "U2": 1}
WITNESS = Witness(said=SAID, calls=CALLS, is_quiet=True)

_QUEUED = replace(RUNS[1], status="queued", input_number=0, last_number=0, ended_at=None, input="U2")
_WAITS = History(conversations=[replace(ROW, head=2, queued=1)], messages=TALK[:2], runs=[RUNS[0], _QUEUED])
_HELD = History(
    conversations=[replace(ROW, head=3, holder="r2")],
    messages=TALK[:3],
    runs=[RUNS[0], replace(RUNS[1], status="running", last_number=0, ended_at=None)],
)

_STOPPED = replace(_QUEUED, status="cancelled", ended_at=250)
_NEVER_BEGUN = replace(_WAITS, conversations=[replace(ROW, head=2)], runs=[RUNS[0], _STOPPED])
_PASSED_OVER = History(
    conversations=[replace(ROW, head=0, queued=1)],
    runs=[replace(_QUEUED, id="r1", n=1, input_message_id="u1", input="U1"), _STOPPED],
)
_ASKING = replace(_HELD, runs=[RUNS[0], replace(_HELD.runs[1], status="waiting", is_asking=True)])
_BEHIND = replace(_QUEUED, id="r3", n=3, input_message_id="u3", input="U3")
_BEHIND_ONE_THAT_ASKS = replace(
    _ASKING,
    conversations=[replace(_ASKING.conversations[0], queued=1, next_run=4)],
    runs=[*_ASKING.runs, _BEHIND],
)
_INTERRUPTED = replace(GOOD, runs=[replace(RUNS[0], status="cancelled", stop=1), RUNS[1]])
_INTERRUPTED_BEFORE_IT_SPOKE = replace(
    GOOD,
    messages=[TALK[0], _asked(2, 2), _answered(3, 2)],
    conversations=[replace(ROW, head=3)],
    runs=[replace(RUNS[0], status="cancelled", stop=1, last_number=0), _run(2, at=2, last=3)],
)
_ROLLED_BACK = replace(
    GOOD,
    messages=[*(replace(message, is_withdrawn=True) for message in TALK[:2]), *TALK[2:]],
    runs=[replace(RUNS[0], status="cancelled", stop=4), RUNS[1]],
)
_BRANCH = ConversationRow(id="b", head=5, next_run=2, parent_id="c", base=3)
_FORKED = History(
    conversations=[ROW, _BRANCH],
    segments=[SegmentRow(conversation_id="b", source_id="c", first=1, last=3)],
    messages=[
        *TALK,
        replace(_asked(4, 3), conversation_id="b", id="bu"),
        replace(_answered(5, 3), conversation_id="b", id="ba"),
    ],
    runs=[
        *RUNS,
        replace(_run(3, at=4, last=5), n=1, conversation_id="b", input_message_id="bu"),
    ],
)
_FORKED_AGAIN = replace(
    _FORKED,
    conversations=[
        *_FORKED.conversations,
        ConversationRow(id="d", head=4, next_run=1, parent_id="b", base=4),
    ],
    segments=[
        *_FORKED.segments,
        SegmentRow(conversation_id="d", source_id="c", first=1, last=3),
        SegmentRow(conversation_id="d", source_id="b", first=4, last=4),
    ],
)


_USED = History(
    conversations=[replace(ROW, head=5, next_run=2)],
    messages=[
        TALK[0],
        replace(_answered(2, 1), text="I look.", calls=("c1", "c2")),
        replace(_answered(3, 1), role="tool", text="", results=("c1",)),
        replace(_answered(4, 1), role="tool", text="", results=("c2",)),
        _answered(5, 1),
    ],
    runs=[_run(1, at=1, last=5)],
)
_CUT_OFF = replace(
    _USED,
    conversations=[replace(ROW, head=3, next_run=2)],
    messages=_USED.messages[:3],
    runs=[replace(_run(1, at=1, last=3), status="failed")],
)


def _with_used(place: int, **change: object) -> History:
    messages = list(_USED.messages)
    messages[place] = replace(messages[place], **change)  # type: ignore[arg-type]  # fields of a row
    return replace(_USED, messages=messages)


def with_messages(*messages: MessageRow) -> History:
    return replace(GOOD, messages=messages, conversations=[replace(ROW, head=len(messages))])


def test_good_history_has_no_violation() -> None:
    assert check(GOOD, WITNESS) == []
    assert check(History()) == []


@pytest.mark.parametrize(
    "history",
    [
        _NEVER_BEGUN,
        _INTERRUPTED,
        _INTERRUPTED_BEFORE_IT_SPOKE,
        _ROLLED_BACK,
        _FORKED,
        _FORKED_AGAIN,
    ],
)
def test_history_with_runs_that_were_stopped_or_branches_has_no_violation(history: History) -> None:
    assert check(history, Witness(is_quiet=True)) == []


def test_turn_that_used_tools_has_no_violation() -> None:
    said = [Said(conversation_id="c", text="U1", answer="A1", is_acknowledged=True)]

    assert check(_USED, Witness(said=said, calls={"U1": 2}, is_quiet=True)) == []
    assert [each.rule for each in check(_USED, Witness(said=said, calls={"U1": 1}))] == ["paid"]
    assert [each.rule for each in check(_USED, Witness(said=said, calls={"U1": 3}))] == ["paid"]


@pytest.mark.parametrize(
    "history", [_CUT_OFF, *[_with_used(place, is_erased=True, calls=(), results=()) for place in (1, 2)]]
)
def test_results_may_lack_where_a_run_was_cut_off_or_something_was_erased(history: History) -> None:
    assert check(history, Witness(is_quiet=True)) == []


@pytest.mark.parametrize("history", [_ASKING, _BEHIND_ONE_THAT_ASKS])
def test_run_may_wait_for_a_decision_and_others_behind_it(history: History) -> None:
    assert check(history, Witness(is_quiet=True, may_wait=True)) == []
    assert {each.rule for each in check(history, Witness(is_quiet=True))} == {"end"}


def test_nothing_else_may_wait() -> None:
    assert [each.rule for each in check(_WAITS, Witness(is_quiet=True, may_wait=True))] == ["end"]


@pytest.mark.parametrize("history", [_NEVER_BEGUN, _WAITS])
def test_message_without_a_number_is_kept_by_its_run(history: History) -> None:
    said = [SAID[0], Said(conversation_id="c", text="U2", is_acknowledged=True)]

    assert check(history, Witness(said=said, calls={"U1": 1})) == []
    assert [each.rule for each in check(history, Witness(said=said, calls=CALLS))] == ["paid"]
    assert [each.rule for each in check(history, Witness(said=said[:1]))] == ["once"]


@pytest.mark.parametrize("history", [_WAITS, _HELD, _PASSED_OVER])
def test_history_under_way_has_no_violation_before_all_is_quiet(history: History) -> None:
    assert check(history) == []
    assert {each.rule for each in check(history, Witness(is_quiet=True))} == {"end"}


def test_failed_run_that_is_made_again_has_no_violation() -> None:
    again = replace(RUNS[0], id="r2", n=2)
    answer = replace(TALK[1], run_id="r2")
    history = History(
        conversations=[replace(ROW, head=2)],
        messages=[TALK[0], answer],
        runs=[replace(RUNS[0], status="failed", last_number=0), again],
    )

    assert check(history, Witness(said=SAID[:1], calls={"U1": 2}, is_quiet=True)) == []


def _tried(by: Sequence[int], *statuses: str, asked: int = 0) -> History:
    """Return a history of runs that have ended like this, and of messages by these runs.

    The first message is what they were asked; only that run which was ``asked`` has its own.
    """
    messages, runs = [TALK[0]], []
    for number, run in enumerate(by, 2):
        is_asked = run == asked and all(each.run_id != f"r{run}" for each in messages)
        said = replace(_answered(number, run), turn=number)
        messages.append(_asked(number, run) if is_asked else said)
    for n, status in enumerate(statuses, 1):
        at = next((each.number for each in messages if each.id == f"u{n}"), 1)
        last = max((each.number for each in messages if each.run_id == f"r{n}" and each.turn), default=0)
        question = f"u{n}" if n == asked else "u1"
        runs.append(replace(_run(n, at=at, last=last, status=status), input_message_id=question))
    row = ConversationRow(id="c", head=len(messages), next_run=len(runs) + 1)
    return History(conversations=[row], messages=messages, runs=runs)


@pytest.mark.parametrize(
    "history",
    [
        _tried([1, 2], "failed", "completed"),
        _tried([1, 1, 2, 2], "failed", "completed"),
        _tried([1], "failed", "failed"),
        _tried([1, 3], "failed", "failed", "completed"),
        _tried([1, 2, 3], "failed", "failed", "completed"),
        _tried([1, 2, 3], "failed", "cancelled", "completed"),
        _tried([1, 2, 3, 3], "failed", "completed", "completed", asked=3),
    ],
)
def test_run_that_goes_on_after_a_failed_one_has_no_violation(history: History) -> None:
    assert check(history, Witness(is_quiet=True)) == []


@pytest.mark.parametrize(
    "history",
    [
        _tried([1, 2], "completed", "completed"),
        _tried([1, 2], "cancelled", "completed"),
        _tried([1, 2, 3], "failed", "completed", "completed"),
        _tried([2, 1], "failed", "completed"),
        _tried([1, 2, 1], "failed", "completed"),
        _tried([1, 2, 1, 2], "failed", "completed"),
        _tried([1, 3, 2], "failed", "failed", "completed"),
        _tried([1, 3, 2, 3], "failed", "completed", "completed", asked=3),
        _tried([1, 2, 3, 2, 3], "failed", "completed", "completed", asked=3),
        _tried([1, 2, 2, 3], "failed", "completed", "completed", asked=2),
        _tried([1, 2, 2], "failed", "completed", "failed", asked=2),
    ],
)
def test_run_that_goes_on_where_it_may_not_is_found_out(history: History) -> None:
    assert {each.rule for each in check(history, Witness(is_quiet=True))} == {"order"}


_BROKEN: dict[str, tuple[History, Sequence[str]]] = {
    "a gap": (
        replace(GOOD, messages=[*TALK[:3], replace(TALK[3], number=5)]),
        ["numbers", "answer", "order"],
    ),
    "a number twice": (
        with_messages(*TALK[:3], replace(TALK[3], number=3, id="x")),
        ["numbers", "answer"],
    ),
    "a message too few": (replace(GOOD, messages=TALK[:3]), ["numbers", "answer"]),
    "a message too many": (replace(GOOD, messages=[*TALK, _answered(5, 2)]), ["numbers", "answer", "once"]),
    "a message twice": (
        with_messages(*TALK[:3], replace(TALK[3], id="a2")),
        ["once"],
    ),
    "a run that is missing": (replace(GOOD, runs=RUNS[1:]), ["acceptance", "order"]),
    "a message of no run": (with_messages(*TALK[:3], replace(TALK[3], run_id=None)), ["order", "answer"]),
    "runs that interleave": (
        replace(
            GOOD,
            messages=[TALK[0], _asked(2, 2), _answered(3, 1), _answered(4, 2)],
            runs=[_run(1, at=1, last=3), _run(2, at=2, last=4)],
        ),
        ["order"],
    ),
    "runs in the wrong order": (
        replace(
            GOOD,
            messages=[_asked(1, 2), _answered(2, 2), _asked(3, 1), _answered(4, 1)],
            runs=[_run(1, at=3, last=4), _run(2, at=1, last=2)],
        ),
        ["order"],
    ),
    "a run that overtakes": (
        History(
            conversations=[replace(ROW, head=2, queued=1)],
            messages=[_asked(1, 2), _answered(2, 2)],
            runs=[replace(_QUEUED, id="r1", n=1, input_message_id="u1"), _run(2, at=1, last=2)],
        ),
        ["order"],
    ),
    "two holders": (
        replace(_HELD, runs=[replace(_HELD.runs[1], id="r1", n=1, input_number=1), _HELD.runs[1]]),
        ["holder"],
    ),
    "a holder that has ended": (replace(GOOD, conversations=[replace(ROW, holder="r2")]), ["holder"]),
    "a holder that is not noted": (
        replace(_HELD, conversations=[replace(_HELD.conversations[0], holder=None)]),
        ["holder"],
    ),
    "a queue that is not noted": (
        replace(_WAITS, conversations=[replace(_WAITS.conversations[0], queued=0)]),
        ["queue"],
    ),
    "a queue that is not there": (replace(GOOD, conversations=[replace(ROW, queued=1)]), ["queue"]),
    "no answer": (
        replace(
            GOOD,
            messages=[TALK[0], _asked(2, 2), _answered(3, 2)],
            conversations=[replace(ROW, head=3)],
            runs=[_run(1, at=1, last=0), _run(2, at=2, last=3)],
        ),
        ["answer"],
    ),
    "a turn said twice": (
        replace(
            GOOD,
            messages=[*TALK, replace(TALK[3], number=5, id="x")],
            conversations=[replace(ROW, head=5)],
            runs=[RUNS[0], _run(2, at=3, last=5)],
        ),
        ["once"],
    ),
    "a result that is missing": (_with_used(3, results=()), ["tools"]),
    "a result that was not asked for": (_with_used(1, calls=("c1",)), ["tools"]),
    "a result that comes twice": (_with_used(3, results=("c1",)), ["tools"]),
    "a tool that was asked for twice": (_with_used(1, calls=("c1", "c1", "c2")), ["once"]),
    "a turn whose last words come twice": (_with_used(1, calls=()), ["once"]),
    "a stray message": (
        replace(GOOD, messages=[*TALK, replace(TALK[0], conversation_id="d", id="x")]),
        ["stray"],
    ),
    "a stray run": (replace(GOOD, runs=[*RUNS, replace(RUNS[0], conversation_id="d", id="x")]), ["stray"]),
    "a run that never began, and has lost its message": (
        replace(_NEVER_BEGUN, runs=[RUNS[0], replace(_STOPPED, input=None)]),
        ["kept"],
    ),
    "a message that stands in the log and in its run": (
        replace(GOOD, runs=[RUNS[0], replace(RUNS[1], input="U2")]),
        ["kept"],
    ),
    "an answer to a message without a number": (
        replace(_NEVER_BEGUN, runs=[RUNS[0], replace(_STOPPED, status="failed")]),
        ["order"],
    ),
    "a run that was to stop, and did not": (
        replace(_INTERRUPTED, runs=[replace(RUNS[0], stop=1), RUNS[1]]),
        ["stop"],
    ),
    "a question of a run that was rolled back": (
        replace(_ROLLED_BACK, messages=[TALK[0], *_ROLLED_BACK.messages[1:]]),
        ["withdrawn"],
    ),
    "an answer of a run that was rolled back": (
        replace(_ROLLED_BACK, messages=[_ROLLED_BACK.messages[0], *TALK[1:]]),
        ["withdrawn"],
    ),
    "a run that waits for nothing": (
        replace(_ASKING, runs=[RUNS[0], replace(_ASKING.runs[1], is_asking=False)]),
        ["wait"],
    ),
    "a run that has ended, and still waits": (
        replace(GOOD, runs=[RUNS[0], replace(RUNS[1], is_asking=True)]),
        ["wait"],
    ),
    "a run that waits, and is not noted": (
        replace(_ASKING, conversations=[replace(_ASKING.conversations[0], holder=None)]),
        ["holder"],
    ),
    "a branch that shares too little": (
        replace(_FORKED, segments=[replace(_FORKED.segments[0], last=2)]),
        ["branch"],
    ),
    "a branch that shares something twice": (
        replace(_FORKED, segments=[*_FORKED.segments, replace(_FORKED.segments[0], first=3)]),
        ["branch"],
    ),
    "a branch that shares what is not there": (
        replace(_FORKED, segments=[replace(_FORKED.segments[0], source_id="x")]),
        ["branch"],
    ),
    "a branch that shares what its source shares": (
        replace(
            _FORKED_AGAIN,
            segments=[
                *_FORKED.segments,
                SegmentRow(conversation_id="d", source_id="b", first=1, last=4),
            ],
        ),
        ["branch"],
    ),
    "a branch of nothing": (
        replace(_FORKED, conversations=[ROW, replace(_BRANCH, parent_id=None)]),
        ["branch"],
    ),
    "a branch that copies what it shares": (
        replace(_FORKED, messages=[*_FORKED.messages, replace(TALK[2], conversation_id="b")]),
        ["numbers", "once"],
    ),
    "a branch that begins too late": (
        replace(
            _FORKED,
            conversations=[ROW, replace(_BRANCH, base=2)],
            segments=[replace(_FORKED.segments[0], last=2)],
        ),
        ["numbers"],
    ),
    "a message that is gone": (
        with_messages(replace(TALK[0], id="x"), *TALK[1:]),
        ["kept"],
    ),
}


@pytest.mark.parametrize("name", _BROKEN)
def test_broken_history_is_found_out(name: str) -> None:
    history, rules = _BROKEN[name]

    found = check(history)

    assert {each.rule for each in found} >= set(rules)


@pytest.mark.parametrize(
    ("witness", "rule"),
    [
        (Witness(said=[*SAID, Said(conversation_id="c", text="U3", is_acknowledged=True)]), "kept"),
        (Witness(said=[*SAID, SAID[0]]), "kept"),
        (Witness(said=SAID[:1]), "once"),
        (Witness(said=[SAID[0], replace(SAID[1], answer="other")]), "answer"),
        (Witness(calls={"U1": 2, "U2": 1}), "paid"),
        (Witness(calls={"U1": 1}), "paid"),
        (Witness(calls={**CALLS, "never said": 1}), "paid"),
    ],
)
def test_history_that_does_not_fit_what_was_seen_is_found_out(witness: Witness, rule: str) -> None:
    assert [each.rule for each in check(GOOD, witness)] == [rule]


def test_message_that_was_not_acknowledged_may_be_there_or_not() -> None:
    said = [*SAID[:1], replace(SAID[1], is_acknowledged=False, answer=None)]

    assert check(GOOD, Witness(said=said)) == []
    assert check(GOOD, Witness(said=[*said, replace(said[1], text="U3")])) == []


@pytest.mark.parametrize(
    ("begin", "end", "is_allowed"), [(0, 99, False), (90, 110, True), (150, 300, True), (151, 300, False)]
)
def test_crash_allows_one_more_call_to_runs_that_it_hit(begin: int, end: int, is_allowed: bool) -> None:
    witness = Witness(calls={"U1": 2, "U2": 2}, crashes=[Crash(begin=begin, end=end)])

    told = [each.detail for each in check(GOOD, witness)]

    assert any("'U1'" in detail for detail in told) is not is_allowed


@pytest.fixture(params=["sqlite_url", "postgres_url"])
def url(request: pytest.FixtureRequest) -> str:
    """URL of a database that can be read from outside."""
    return str(request.getfixturevalue(request.param))


async def test_history_is_read_as_it_was_written(url: str) -> None:
    store = open_store(url)
    await store.open()
    conversation = await a_conversation(store)
    await an_exchange(store, conversation, "Ü", "A")
    await a_failed_run(store, a_submission(conversation, "fails"))
    await a_queued_run(store, a_submission(conversation, "waits"))

    history = await read_history(url)
    await store.close()

    assert check(history) == []
    assert [(each.role, each.text) for each in history.messages] == [
        ("user", "Ü"),
        ("assistant", "A"),
        ("user", "fails"),
    ]
    assert [each.status for each in history.runs] == ["completed", "failed", "queued"]
    [row] = history.conversations
    assert (f"conv_{row.id}", row.head, row.queued, row.next_run) == (conversation.id, 3, 1, 4)
    assert [each.rule for each in check(history, Witness(is_quiet=True))] == ["end"]


async def test_use_of_tools_is_read_as_it_was_written(url: str) -> None:
    store = open_store(url)
    await store.open()
    claim = (await store.runs.accept(a_submission(await a_conversation(store)), a_claimant())).claim
    assert claim is not None
    call = ToolCall(id="c1", name="add", arguments='{"text":"in a call"}')
    result = ToolResult(call_id="c1", name="add", text="in a result")
    thought = Reasoning(text="in a thought")
    said = (
        replace(an_answer(), content=(thought, Text(text="I look."), call)),
        replace(an_answer(), role="tool", content=(result,)),
        an_answer("Forty."),
    )
    await store.runs.commit(claim.lease, Commit(messages=said, ending=COMPLETED), None)

    history = await read_history(url)
    await store.close()

    assert check(history, Witness(is_quiet=True)) == []
    told = [(each.role, each.text, each.calls, each.results) for each in history.messages[1:]]
    assert told == [
        ("assistant", "I look.", ("c1",), ()),
        ("tool", "", (), ("c1",)),
        ("assistant", "Forty.", (), ()),
    ]


async def test_what_was_stopped_withdrawn_or_shared_is_read_as_it_was_written(url: str) -> None:
    store = open_store(url)
    await store.open()
    conversation = await a_conversation(store)
    await an_exchange(store, conversation, "U1", "A1")
    branch = await a_fork(store, conversation, at=2)
    rolled_back = await a_waiting_run(store, a_submission(conversation, "U2"))
    never_begun = await a_queued_run(store, a_submission(conversation, "U3"))
    for run in (never_begun.run, rolled_back.run):
        await store.runs.stop(run.tenant, run.id, Stop.ROLLBACK, None)
    waiting = await a_waiting_run(store, a_submission(branch, "U4"))

    history = await read_history(url)
    await store.close()

    assert check(history, Witness(is_quiet=True, may_wait=True)) == []
    runs = {f"run_{run.id}": run for run in history.runs}
    assert (runs[never_begun.run.id].input, runs[never_begun.run.id].input_number) == ("U3", 0)
    assert (runs[rolled_back.run.id].stop, runs[rolled_back.run.id].status) == (Stop.ROLLBACK, "cancelled")
    assert (runs[waiting.run.id].is_asking, runs[waiting.run.id].input_number) == (True, 3)
    assert [each.text for each in history.messages if each.is_withdrawn] == ["U2"]
    assert {row.id: row.base for row in history.conversations} == {conversation.id[5:]: 0, branch.id[5:]: 2}
    [segment] = history.segments
    assert (segment.first, segment.last, segment.source_id) == (1, 2, conversation.id[5:])


async def test_history_is_read_from_a_path_of_any_form(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a b.db'}"
    store = open_store(url)
    await store.open()
    claim = (await store.runs.accept(a_submission(await a_conversation(store)), a_claimant())).claim
    assert claim is not None
    await store.runs.commit(claim.lease, a_finish("A"), None)
    await store.close()

    assert check(await read_history(url), Witness(is_quiet=True)) == []
