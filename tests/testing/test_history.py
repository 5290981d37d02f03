"""The checker of histories finds every violation, and none where there is none."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tertulia.stores import open_store
from tertulia.testing.builders import (
    a_claimant,
    a_conversation,
    a_failed_run,
    a_finish,
    a_queued_run,
    a_submission,
    an_exchange,
)
from tertulia.testing.history import (
    ConversationRow,
    Crash,
    History,
    MessageRow,
    RunRow,
    Said,
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

_QUEUED = replace(RUNS[1], status="queued", input_number=0, last_number=0, ended_at=None)
_WAITS = History(conversations=[replace(ROW, head=2, queued=1)], messages=TALK[:2], runs=[RUNS[0], _QUEUED])
_HELD = History(
    conversations=[replace(ROW, head=3, holder="r2")],
    messages=TALK[:3],
    runs=[RUNS[0], replace(RUNS[1], status="running", last_number=0, ended_at=None)],
)


def with_messages(*messages: MessageRow) -> History:
    return replace(GOOD, messages=messages, conversations=[replace(ROW, head=len(messages))])


def test_good_history_has_no_violation() -> None:
    assert check(GOOD, WITNESS) == []
    assert check(History()) == []


@pytest.mark.parametrize("history", [_WAITS, _HELD])
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
    "a stray message": (
        replace(GOOD, messages=[*TALK, replace(TALK[0], conversation_id="d", id="x")]),
        ["stray"],
    ),
    "a stray run": (replace(GOOD, runs=[*RUNS, replace(RUNS[0], conversation_id="d", id="x")]), ["stray"]),
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


async def test_history_is_read_from_a_path_of_any_form(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a b.db'}"
    store = open_store(url)
    await store.open()
    claim = (await store.runs.accept(a_submission(await a_conversation(store)), a_claimant())).claim
    assert claim is not None
    await store.runs.commit(claim.lease, a_finish("A"), None)
    await store.close()

    assert check(await read_history(url), Witness(is_quiet=True)) == []
