"""Decisions that are sent again: what was decided already is not decided once more."""

from collections.abc import Sequence

from tertulia.conversations import DEFAULT_TENANT, Run, Step, Wait
from tertulia.engine import Decision
from tertulia.engine.journal import DECISION, decided, is_repeated
from tertulia.errors import NotWaiting
from tertulia.stores.base import RunReader


async def decided_before(runs: RunReader, run_id: str, decision: Decision) -> Run | None:
    """Return a run as it stands if this was decided about it already, whatever has become of it since.

    ``None`` if it was not. Raises ``NotFound``, and :class:`~tertulia.errors.NotWaiting` if the run
    waits at the same place once more, since nobody can tell then which time is meant.
    """
    run, steps = await runs.get(DEFAULT_TENANT, run_id), await runs.steps(DEFAULT_TENANT, run_id)
    if not is_repeated(decision, steps) and not _is_kept(decision, steps):
        return None
    if run.wait is not None and run.wait.path == decision.path:
        raise NotWaiting("it was decided so before, and waits again: decide without an Idempotency-Key")
    return run


def _is_kept(decision: Decision, steps: Sequence[Step]) -> bool:
    """Whether a decision is in the journal of a run that has ended, where digests alone are left."""
    path = decision.path or ""
    wait = Wait(kind="approval", path=path, message="", until=0)
    identity = decided(wait, decision, steps=steps, epoch=0).identity
    return any(
        step.kind == DECISION and step.path.startswith(f"{path}/{DECISION}/") and step.identity == identity
        for step in steps
    )
