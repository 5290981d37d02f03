"""Checks what a database holds against what was promised, from plain rows.

A *history* is what stands in the database, a *witness* what was seen from outside meanwhile. The
checks know nothing of the engine or the stores, so that a fault of theirs cannot hide in them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final, TypeAlias

from tertulia.testing.rows import (
    ConversationRow,
    Crash,
    History,
    MessageRow,
    RunRow,
    Said,
    SegmentRow,
    Violation,
    Witness,
)

QUEUED: Final = "queued"
RUNNING: Final = "running"
WAITING: Final = "waiting"
COMPLETED: Final = "completed"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
_HOLDING: Final = frozenset({RUNNING, WAITING})
_BROKEN_OFF: Final = frozenset({FAILED, CANCELLED})
_TERMINAL: Final = _BROKEN_OFF | {COMPLETED}
_ROLLBACK: Final = 4


def check(history: History, witness: Witness | None = None) -> list[Violation]:
    """Return every violation of the promises; an empty list is what one hopes for."""
    seen = witness or Witness()
    found = []
    for log in _logs(history):
        found += [*_numbers(log), *_order(log), *_ends(log), *_tools(log), *_stops(log), *_queue(log)]
    found += [*_strays(history), *_branches(history)]
    if seen.is_quiet:
        found += _unended(history, may_wait=seen.may_wait)
    if seen.said is not None:
        found += _kept(history, seen.said)
    if seen.calls is not None:
        found += _paid(history, seen.calls, seen.crashes)
    return found


_Use: TypeAlias = tuple[str | None, int, str]
"""A use of a tool: in which run and turn, and its id."""


@dataclass(slots=True)
class _Log:
    """A conversation with what belongs to it: messages by number, runs by acceptance."""

    row: ConversationRow
    messages: list[MessageRow] = field(default_factory=list)
    runs: list[RunRow] = field(default_factory=list)


def _logs(history: History) -> list[_Log]:
    logs = {row.id: _Log(row) for row in history.conversations}
    for message in sorted(history.messages, key=lambda each: each.number):
        if message.conversation_id in logs:
            logs[message.conversation_id].messages.append(message)
    for run in sorted(history.runs, key=lambda each: each.n):
        if run.conversation_id in logs:
            logs[run.conversation_id].runs.append(run)
    return list(logs.values())


def _numbers(log: _Log) -> Iterator[Violation]:
    """Messages and runs are numbered without gap or double: a branch's own from where it begins."""
    numbers = [message.number for message in log.messages]
    if numbers != list(range(log.row.base + 1, log.row.head + 1)):
        yield Violation("numbers", f"{log.row.id}: head {log.row.head}, but numbers {numbers}")
    places = [run.n for run in log.runs]
    if places != list(range(1, log.row.next_run)):
        yield Violation("acceptance", f"{log.row.id}: next run {log.row.next_run}, but runs {places}")


def _order(log: _Log) -> Iterator[Violation]:
    """The messages of a run stand together, and those of runs in the order of their acceptance."""
    known = {run.id for run in log.runs}
    for message in log.messages:
        if message.run_id not in known:
            yield Violation("order", f"{log.row.id}: message {message.number} belongs to no run")
    yield from _blocks(log)
    yield from _overtaking(log)


def _blocks(log: _Log) -> Iterator[Violation]:
    """Each run stands in one piece behind the one before: from its input on, or, made again, right there."""
    before, last = 0, 0
    for run, goes_on in _begun(log):
        first = last + 1 if goes_on else run.input_number
        inputs = set() if goes_on else {run.input_number}
        numbers = sorted(inputs | {each.number for each in log.messages if each.run_id == run.id})
        if numbers != list(range(first, first + len(numbers))):
            yield Violation("order", f"run {run.id}: input {run.input_number}, messages at {numbers}")
        if numbers and last >= numbers[0]:
            yield Violation("order", f"runs {before} and {run.n} of {log.row.id} interleave")
        before, last = (run.n, numbers[-1]) if numbers else (before, last)


def _begun(log: _Log) -> Iterator[tuple[RunRow, bool]]:
    """Yield the runs that have begun, and whether each goes on after others that broke off at its input.

    Only a failed run is made again; what was made again may be cancelled, and the failed one made anew.
    """
    begun = (run for run in log.runs if run.input_number)
    for _, runs in groupby(begun, key=lambda run: (run.input_message_id, run.input_number)):
        tried: list[str] = []
        for run in runs:
            yield run, tried[:1] == [FAILED] and _BROKEN_OFF.issuperset(tried)
            tried.append(run.status)


def _overtaking(log: _Log) -> Iterator[Violation]:
    """No run begins while one that was accepted earlier still waits; one that never began may end."""
    has_waited = None
    for run in log.runs:
        if run.status == QUEUED:
            has_waited = has_waited or run
        elif has_waited is not None and not _never_began(run):
            yield Violation("order", f"run {run.n} of {log.row.id} has overtaken run {has_waited.n}")


def _never_began(run: RunRow) -> bool:
    return run.status == CANCELLED and not run.input_number


def _ends(log: _Log) -> Iterator[Violation]:
    """Runs end once, with an answer if they are completed."""
    by_run = defaultdict(list)
    for message in log.messages:
        if message.role != "user":
            by_run[message.run_id].append(message)
    for run in log.runs:
        answers = by_run[run.id]
        if run.status == COMPLETED and not answers:
            yield Violation("answer", f"run {run.id} is completed without an answer")
        if run.last_number != max((each.number for each in answers), default=0):
            yield Violation("answer", f"run {run.id}: last number {run.last_number} is not that of its last")
        said = [each for each in answers if each.role == "assistant" and not each.is_erased]
        last_words = Counter(each.turn for each in said if not each.calls)
        if any(count > 1 for count in last_words.values()):
            yield Violation("once", f"run {run.id} has said one turn twice")


def _tools(log: _Log) -> Iterator[Violation]:
    """What tools have given was asked for before, once; and nothing is lacking where a run is completed.

    Of a turn of which something was erased, nothing can be said.
    """
    completed = {run.id for run in log.runs if run.status == COMPLETED}
    unknown = {(each.run_id, each.turn) for each in log.messages if each.is_erased}
    asked, given = Counter[_Use](), Counter[_Use]()
    for message in log.messages:
        turn = (message.run_id, message.turn)
        if turn not in unknown:
            given.update((*turn, each) for each in message.results)
            for use in ((*turn, each) for each in message.results):
                if given[use] > asked[use]:
                    yield Violation("tools", f"message {message.number} gives what was not asked: {use}")
            asked.update((*turn, each) for each in message.calls)
    for use, count in asked.items():
        if count > 1:
            yield Violation("once", f"a tool was asked for twice: {use}")
        if use[0] in completed and not given[use]:
            yield Violation("tools", f"run {use[0]} is completed, and lacks the result of {use}")


def _unended(history: History, *, may_wait: bool) -> Iterator[Violation]:
    """Runs that should have ended by now, unless they wait for somebody, or behind one that does."""
    holding = {run.conversation_id for run in history.runs if run.status == WAITING} if may_wait else set()
    for run in history.runs:
        is_held_up = run.conversation_id in holding and run.status in {WAITING, QUEUED}
        if run.status not in _TERMINAL and not is_held_up:
            yield Violation("end", f"run {run.id} is {run.status}")


def _stops(log: _Log) -> Iterator[Violation]:
    """Runs that were to stop have stopped, and what one of them was to take back is withdrawn."""
    for run in log.runs:
        is_over = run.status in _TERMINAL
        if run.stop and is_over and run.status != CANCELLED:
            yield Violation("stop", f"run {run.id} was to stop, and is {run.status}")
        if run.is_asking if is_over else run.status == WAITING and not run.is_asking:
            yield Violation("wait", f"run {run.id} is {run.status}; asks for a decision: {run.is_asking}")
        if run.stop == _ROLLBACK and is_over:
            yield from _shown(log, run)
    yield from _unnumbered(log)


def _shown(log: _Log, run: RunRow) -> Iterator[Violation]:
    """Messages of a run that was rolled back, and are not withdrawn."""
    for message in log.messages:
        is_its = message.run_id == run.id or message.id == run.input_message_id
        if is_its and not message.is_withdrawn:
            yield Violation("withdrawn", f"run {run.id} was rolled back; message {message.number} was not")


def _unnumbered(log: _Log) -> Iterator[Violation]:
    """A message stands in the log or in its run, never in both, and never nowhere."""
    for run in log.runs:
        if not run.input_number and run.status not in {QUEUED, CANCELLED}:
            yield Violation("order", f"run {run.id} is {run.status}, its message without a number")
        if (run.input is None) is not bool(run.input_number):
            yield Violation("kept", f"run {run.id}: input {run.input_number}, text kept: {run.input!r}")


def _queue(log: _Log) -> Iterator[Violation]:
    """What a conversation notes of its runs is so."""
    holders = [run.id for run in log.runs if run.status in _HOLDING]
    if len(holders) > 1:
        yield Violation("holder", f"{log.row.id} is held by {len(holders)} runs")
    if holders[:1] != ([] if log.row.holder is None else [log.row.holder]):
        yield Violation("holder", f"{log.row.id} notes {log.row.holder}, but is held by {holders}")
    queued = sum(run.status == QUEUED for run in log.runs)
    if queued != log.row.queued:
        yield Violation("queue", f"{log.row.id} notes {log.row.queued} queued runs, but there are {queued}")


def _strays(history: History) -> Iterator[Violation]:
    """Everything belongs to a conversation, and no message stands in two places."""
    known = {row.id for row in history.conversations}
    owned = [(row.id, row.conversation_id) for row in history.messages]
    owned += [(row.id, row.conversation_id) for row in history.runs]
    for ident, conversation in owned:
        if conversation not in known:
            yield Violation("stray", f"{ident} belongs to no conversation")
    for ident, count in Counter(message.id for message in history.messages).items():
        if count > 1:
            yield Violation("once", f"message {ident} stands in {count} places")
    kept = {message.id for message in history.messages}
    for run in history.runs:
        if run.input_number and run.input_message_id not in kept:
            yield Violation("kept", f"the message of run {run.id} is gone")


def _branches(history: History) -> Iterator[Violation]:
    """Branches share what their ancestors have written themselves: every number up to where they begin."""
    own = {(each.conversation_id, each.number) for each in history.messages}
    shared = defaultdict(list)
    for segment in history.segments:
        for number in range(segment.first, segment.last + 1):
            shared[segment.conversation_id].append(number)
            if (segment.source_id, number) not in own:
                yield Violation("branch", f"{segment.source_id} has no message {number} of its own to share")
    for row in history.conversations:
        if (row.base > 0 and row.parent_id is None) or row.base > row.head:
            yield Violation("branch", f"{row.id}: parent {row.parent_id}, base {row.base}, head {row.head}")
        if sorted(shared[row.id]) != list(range(1, row.base + 1)):
            yield Violation("branch", f"{row.id} shares {row.base} messages, but these: {shared[row.id]}")


def _kept(history: History, said: Sequence[Said]) -> Iterator[Violation]:
    """What was acknowledged is there, exactly once; what was not is there at most once."""
    asked = Counter((each.conversation_id, each.text) for each in said)
    acknowledged = Counter((each.conversation_id, each.text) for each in said if each.is_acknowledged)
    kept = Counter((each.conversation_id, each.text) for each in history.messages if each.role == "user")
    kept += Counter((run.conversation_id, run.input) for run in history.runs if run.input is not None)
    for which in asked | kept:
        if kept[which] < acknowledged[which]:
            yield Violation("kept", f"{which}: acknowledged {acknowledged[which]}, kept {kept[which]}")
        if kept[which] > asked[which]:
            yield Violation("once", f"{which}: asked {asked[which]}, kept {kept[which]}")
    answers = _answers(history)
    for each in said:
        if each.answer is not None and each.answer not in answers[each.conversation_id, each.text]:
            yield Violation("answer", f"{each.text!r} was answered otherwise than the log tells")


def _answers(history: History) -> dict[tuple[str, str], list[str]]:
    """Return what was answered to every message of a user."""
    asked = {each.id: each for each in history.messages if each.role == "user"}
    turns: dict[str | None, dict[int, str]] = defaultdict(dict)
    for message in sorted(history.messages, key=lambda each: each.number):
        if message.role == "assistant":  # of a turn that used tools, the last words are the answer
            said = turns[message.run_id]
            said[message.turn] = message.text or said.get(message.turn, "")
    found = defaultdict(list)
    for run in history.runs:
        question = asked.get(run.input_message_id)
        if question is not None and turns[run.id]:
            found[question.conversation_id, question.text].append("\n\n".join(turns[run.id].values()))
    return found


def _paid(history: History, calls: Mapping[str, int], crashes: Sequence[Crash]) -> Iterator[Violation]:
    """A model is asked once for every message, and once more at most for every crash on the way.

    Where it wants to use tools first, it is asked once more after each time. About a message without a
    number it is never asked, and about one whose run was stopped it need not be.
    """
    texts = {each.id: each.text for each in history.messages if each.role == "user"}
    rounds = Counter(each.run_id for each in history.messages if each.calls)
    least, most = Counter[str](), Counter[str]()
    for run in history.runs:
        if (text := texts.get(run.input_message_id)) is not None:
            asked = 1 + rounds[run.id]
            least[text] += asked if run.status == COMPLETED else 0
            most[text] += asked + sum(_hits(crash, run) for crash in crashes)
    for text in {*texts.values(), *calls}:
        if not least[text] <= calls.get(text, 0) <= most[text]:
            told = f"{text!r}: {calls.get(text, 0)} calls, expected {least[text]} to {most[text]}"
            yield Violation("paid", told)


def _hits(crash: Crash, run: RunRow) -> bool:
    return run.created_at <= crash.end and (run.ended_at is None or crash.begin <= run.ended_at)


__all__ = [
    "ConversationRow",
    "Crash",
    "History",
    "MessageRow",
    "RunRow",
    "Said",
    "SegmentRow",
    "Violation",
    "Witness",
    "check",
]
