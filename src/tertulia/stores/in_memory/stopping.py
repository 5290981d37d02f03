"""Runs that are to stop, and those that are let go on, in memory."""

from dataclasses import replace

from tertulia.conversations import Accepted, Claim, Claimant, Ending, RunStatus, Step, Stop
from tertulia.stores import rules
from tertulia.stores.in_memory import ledger
from tertulia.stores.in_memory.state import Entry, Log, Room


def stop(room: Room, entry: Entry, how: Stop, claimant: Claimant | None, *, now: int) -> Claim | None:
    """Have a run end: at once, unless it is held, when its holder is asked to.

    Returns the claim on what could begin because it has ended.
    """
    if entry.run.status.is_terminal:
        return None
    entry.run = replace(entry.run, stop=max(entry.run.stop, how))
    if entry.run.status is RunStatus.RUNNING:
        if not entry.may_begin(now):
            return None
        entry.run = replace(entry.run, epoch=entry.run.epoch + 1)
    log = room.log_of(entry)
    ledger.end(room, log, entry, Ending(status=RunStatus.CANCELLED, failure=rules.STOPPED), now=now)
    return ledger.begin_next(log, claimant, now=now)


def make_way(
    room: Room, log: Log, how: Stop, claimant: Claimant | None, *, now: int
) -> tuple[str | None, Claim | None]:
    """Stop the run that holds a conversation, if one does and it is to be stopped.

    Returns the run that its owner still has to end, or the claim on the one that could begin.
    """
    holder = log.holder
    if holder is None or how is Stop.NONE:
        return None, None
    claim = stop(room, holder, how, claimant, now=now)
    return (None if holder.run.status.is_terminal else holder.run.id), claim


def decide(room: Room, entry: Entry, decision: Step, claimant: Claimant, *, now: int) -> Accepted:
    """Let a waiting run go on with a decision, unless that has been made before."""
    log = room.log_of(entry)
    stored = entry.steps.get(decision.path)
    identity = None if stored is None else stored.identity
    if rules.decide(decision, identity, status=entry.run.status) == "join":
        return Accepted(run=entry.run, conversation=log.row, is_new=False)
    ledger.journal(entry, decision)
    entry.run = replace(entry.run, status=RunStatus.RUNNING, wait=None, attempt=0)
    if rules.can_perform(claimant, entry.run.performer):
        claim = ledger.begin(log, entry, claimant, now=now)
        return Accepted(run=claim.run, conversation=log.row, claim=claim)
    entry.run = replace(entry.run, epoch=entry.run.epoch + 1)
    ledger.give_back(entry)
    return Accepted(run=entry.run, conversation=log.row)
