"""Taking requests in, in memory: once per idempotency key, and failed ones again."""

from dataclasses import replace

from tertulia.conversations import Accepted, Branch, Claimant, NewConversation, Once, Run, Submission
from tertulia.stores import rules
from tertulia.stores.in_memory import branching, conversations, ledger, stopping
from tertulia.stores.in_memory.once import known, made_before, made_with, note
from tertulia.stores.in_memory.state import Entry, KnownKey, Log, Room


def accept(room: Room, submission: Submission, claimant: Claimant | None, *, now: int) -> Accepted:
    """Do what :meth:`RunStore.accept` promises."""
    there = _named(room, submission.conversation)
    scopes = rules.key_scopes(submission.conversation, existing=there.row.id if there else None)
    once = None if submission.key is None else Once(key=submission.key, request_hash=submission.request_hash)
    key = known(room, scopes[0], once, now=now)
    if key is not None:
        return _repeat(room, submission, key, claimant, now=now)
    log = _goes_on(room, submission.conversation, there)
    place = rules.admit(
        _standing(log, submission.conversation),
        multitask=submission.multitask,
        expected_head=submission.expected_head,
        reopens=submission.reopens,
    )
    run, message = ledger.asked(submission, now=now), ledger.said(submission, now=now)
    log = _opened(log or _made(room, submission, now=now), now=now)
    note(room, scopes, once, submission.run_id, now=now)
    entry = ledger.enter(room, log, run, message=message, tokens=submission.tokens)
    if place == "claim":
        return _begun(log, entry, claimant, now=now)
    how = rules.stop_for(submission.multitask)
    stops, claim = stopping.make_way(room, log, how, claimant, now=now)
    return Accepted(run=entry.run, conversation=log.row, claim=claim, stops=stops)


def retry(room: Room, names: tuple[str, str], claimant: Claimant, *, once: Once | None, now: int) -> Accepted:
    """Do what :meth:`RunStore.retry` promises; ``names`` are the failed and the new run's id."""
    run_id, new_run_id = names
    earlier = room.entry(run_id)
    log = room.log_of(earlier)
    made = made_before(room, run_id, once, room.runs, now=now)
    if made is not None:
        return Accepted(run=made.run, conversation=log.row, is_new=False)
    rules.check_open(log.standing())
    rules.check_repeatable(earlier.run, log.standing(), _fate(room, log, earlier))
    note(room, (run_id,), once, new_run_id, now=now)
    run = ledger.asked_again(earlier.run, new_run_id, now=now)
    return _again(room, log, run, earlier=earlier, claimant=claimant)


def _fate(room: Room, log: Log, entry: Entry) -> rules.Fate:
    """Return what has become of the message of a run since."""
    run = entry.run
    if not run.input_number:
        return rules.Fate(is_newest=False)
    flags, newest = log.own(run.input_number).flags, log.own(log.row.head)
    if newest.number == run.input_number:
        return rules.Fate(flags=flags)
    last = None if newest.run_id is None else room.runs.get(newest.run_id)
    return rules.Fate(flags=flags, is_newest=last is not None and rules.went_before(last.run, run))


def _named(room: Room, named: str | NewConversation | Branch) -> Log | None:
    """Return the conversation that a request names, or branches off; ``None`` if it is to be made."""
    match named:
        case NewConversation():
            return conversations.find(room, named)
        case Branch():
            return room.known_log(named.source)
        case str():
            return room.known_log(named)


def _goes_on(room: Room, named: str | NewConversation | Branch, there: Log | None) -> Log | None:
    """Return the conversation that the run will stand in, ``None`` if it is to be made."""
    if there is None or not isinstance(named, Branch) or rules.appends(named, there.standing()):
        return there
    return branching.find(room, there, named)


def _standing(log: Log | None, named: str | NewConversation | Branch) -> rules.Standing:
    if log is not None:
        return log.standing()
    return rules.Standing(head=named.at if isinstance(named, Branch) else 0)


def _made(room: Room, submission: Submission, *, now: int) -> Log:
    match submission.conversation:
        case NewConversation() as new:
            return conversations.make(room, new, tenant=submission.tenant, now=now)
        case Branch() as branch:
            return branching.make(room, room.known_log(branch.source), branch, now=now)
        case str() as there:
            return room.known_log(there)


def _repeat(
    room: Room, submission: Submission, key: KnownKey, claimant: Claimant | None, *, now: int
) -> Accepted:
    first = made_with(key, submission.request_hash, room.runs)
    log = room.log_of(first)
    earlier = log.newest_on(first.run.input_message_id)
    outcome = rules.repeat(
        earlier.run,
        log.standing(),
        request_hash=submission.request_hash,
        stored_hash=key.request_hash,
        fate=_fate(room, log, earlier),
        reopens=submission.reopens,
    )
    if outcome == "join":
        return Accepted(run=earlier.run, conversation=log.row, is_new=False)
    run = replace(
        ledger.asked(submission, now=now),
        input_message_id=earlier.run.input_message_id,
        input_number=earlier.run.input_number,
    )
    return _again(room, _opened(log, now=now), run, earlier=earlier, claimant=claimant)


def _opened(log: Log, *, now: int) -> Log:
    """Return a conversation that has admitted a request: it is open from then on."""
    if log.row.closed is not None:
        log.close(None, now=now)
    return log


def _again(room: Room, log: Log, run: Run, *, earlier: Entry, claimant: Claimant | None) -> Accepted:
    entry = ledger.enter(room, log, run, message=None, tokens=earlier.tokens)
    return _begun(log, entry, claimant, now=run.created_at)


def _begun(log: Log, entry: Entry, claimant: Claimant | None, *, now: int) -> Accepted:
    claim = ledger.begin_next(log, claimant, now=now)
    return Accepted(run=entry.run, conversation=log.row, claim=claim)
