"""Decisions: what lets a waiting run go on."""

from dataclasses import replace
from typing import Final

from sqlalchemy import bindparam, literal_column, null, update

from tertulia import ids
from tertulia.conversations import Accepted, Claimant, Lease, RunStatus, Step
from tertulia.stores import rules
from tertulia.stores.sql import journal, placing, standing
from tertulia.stores.sql.rows import step_params
from tertulia.stores.sql.schema import RUNS
from tertulia.stores.sql.statements import Connection, Statement

_GO_ON: Final = Statement(
    update(RUNS)
    .where(RUNS.c.tenant == bindparam("tenant"), RUNS.c.id == bindparam("run"))
    .values(
        status=literal_column("'running'"),
        epoch=bindparam("new_epoch"),
        attempt=literal_column("0"),
        owner=null(),
        lease_until=literal_column("0"),
        waiting=null(),
    )
)


async def decide(db: Connection, tenant: int, run_id: str, decision: Step, claimant: Claimant) -> Accepted:
    """Do what :meth:`RunStore.decide` promises."""
    found, run = await standing.run_locked(db, tenant, run_id)
    held = found.held
    stored = await journal.identity(db, tenant, run.id, path=decision.path)
    if rules.decide(decision, stored, status=run.status) == "join":
        return Accepted(run=run, conversation=held.conversation, is_new=False)
    freed = replace(run, status=RunStatus.RUNNING, wait=None, attempt=0)
    lease = Lease(
        tenant=tenant,
        run_id=run.id,
        conversation_id=run.conversation_id,
        epoch=run.epoch + 1,
        owner=claimant.owner,
    )
    go_on = {"tenant": tenant, "run": ids.to_bytes(run.id), "new_epoch": lease.epoch}
    step = step_params(lease, decision, output=decision.output)
    await db.together([(journal.WRITE_STEP, step), (_GO_ON, go_on)])
    if not rules.can_perform(claimant, run.performer):
        return Accepted(run=replace(freed, epoch=lease.epoch), conversation=held.conversation)
    claim = await placing.take_over(db, held, freed, claimant)
    return Accepted(run=claim.run, conversation=held.conversation, claim=claim)
