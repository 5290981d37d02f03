"""The journal of a run: finished steps are kept, and never carried out again."""

from collections.abc import Awaitable, Callable

from tertulia.conversations import Claim, Step, Usage
from tertulia.engine.probe import Probe
from tertulia.engine.turns import StepResult
from tertulia.errors import NeedsAttention
from tertulia.messages import now_us


class Journal:
    """What a run has done so far, in this process and in those that held it before.

    A finished step is written at the latest before the next one begins, else with the turn.
    """

    def __init__(self, claim: Claim, probe: Probe) -> None:
        self._done = {step.path: step for step in claim.steps}
        self._unwritten: list[Step] = []
        self._probe = probe
        self._is_after_crash = claim.run.epoch > 1
        self.usage = claim.run.usage
        for step in claim.steps:
            self.usage += step.usage

    @property
    def unwritten(self) -> tuple[Step, ...]:
        """Steps that are finished and not yet stored."""
        return tuple(self._unwritten)

    def written(self) -> None:
        """Note that all steps are stored now."""
        self._unwritten.clear()

    def recall(self, path: str, *, identity: bytes) -> StepResult | None:
        """Return the result of a finished step.

        Raises :class:`~tertulia.errors.NeedsAttention` if it was another step that had this path.
        """
        step = self._done.get(path)
        if step is None:
            return None
        if step.identity != identity:
            raise NeedsAttention(f"step {path} is journaled, but with other content: the code has changed")
        return StepResult(output=step.output, usage=step.usage)

    async def carry_out(
        self, path: str, work: Callable[[], Awaitable[StepResult]], *, kind: str, identity: bytes
    ) -> StepResult:
        """Do the work of a step that is not finished yet, and note it."""
        started_at = now_us()
        self._probe("step.before")
        result = await work()
        self._probe("step.after")
        spent = result.usage
        if self._is_after_crash:
            spent += Usage(wasted_calls=spent.model_calls)
            self._is_after_crash = False
        step = Step(
            path=path,
            kind=kind,
            identity=identity,
            output=result.output,
            usage=spent,
            started_at=started_at,
            ended_at=now_us(),
        )
        self._done[path] = step
        self._unwritten.append(step)
        self.usage += spent
        return result
