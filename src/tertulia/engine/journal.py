"""The journal of a run: finished steps are kept, and never carried out again."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from hashlib import sha256
from typing import Final

import orjson

from tertulia.conversations import Claim, Step, Wait, WaitKind
from tertulia.engine.probe import Probe
from tertulia.engine.turns import Decision, Plan, StepResult
from tertulia.errors import InvalidInput, NeedsAttention, UnknownOutcome
from tertulia.messages import now_us
from tertulia.usage import Usage

MODEL: Final = "model"
"""Kind of the steps that ask a model."""
DECISION: Final = "decision"
"""Kind of the steps that somebody has taken from outside."""
WAIT_US: Final = 7 * 24 * 60 * 60 * 1_000_000
"""How long a run waits for a decision about a step, if nothing else was said."""
VERDICTS: Final[Mapping[WaitKind, tuple[str, ...]]] = {
    "unknown_outcome": ("retry", "done", "fail"),
    "needs_attention": ("redo", "keep", "fail"),
    "approval": ("approve", "deny"),
    "turn": ("say",),
}
"""What can be decided about a run, by what it waits for."""


class Suspended(Exception):  # not an error: the run goes on when somebody has decided
    """The run cannot go on before somebody has decided."""

    def __init__(self, wait: Wait) -> None:
        super().__init__(wait.message)
        self.wait = wait


class Journal:
    """What a run has done so far, in this process and in those that held it before.

    A finished step is written at the latest before the next one begins, else with the turn.
    """

    def __init__(self, claim: Claim, probe: Probe) -> None:
        self._known = {step.path: step for step in claim.steps}
        self._unwritten: dict[str, Step] = {}
        self._probe = probe
        is_decided = bool(claim.steps) and claim.steps[-1].kind == DECISION
        self._is_after_crash = claim.run.epoch > 1 and not is_decided
        self.usage = claim.run.usage

    @property
    def unwritten(self) -> tuple[Step, ...]:
        """Steps that are finished, or were begun, and are not yet stored."""
        return tuple(self._unwritten.values())

    def written(self, steps: Iterable[Step]) -> None:
        """Note that these steps are stored now."""
        for step in steps:
            if self._unwritten.get(step.path) is step:
                del self._unwritten[step.path]

    def recall(self, path: str, plan: Plan) -> StepResult | None:
        """Return the result of a step, or None if it is to be carried out.

        Raises :class:`Suspended` if that is for somebody to decide, and what they have decided.
        """
        step = self._known.get(path)
        if step is None or (step.external_id is not None and step.ended_at == 0):
            return None
        decision = self.decision(path, of=step)
        if step.ended_at == 0:
            return _after_unknown(step, plan, decision)
        if step.identity == plan.identity:
            return StepResult(output=step.output, usage=step.usage)
        return _after_change(step, plan, decision)

    @property
    def seconds(self) -> float:
        """How long all steps took that this process knows of."""
        return sum(step.ended_at - step.started_at for step in self._known.values() if step.ended_at) / 1e6

    def knows(self, path: str) -> bool:
        """Whether a step of this path was begun at least."""
        return path in self._known

    def output(self, path: str) -> str | None:
        """Return what the step of this path has given; ``None`` if it was not finished."""
        step = self._known.get(path)
        return None if step is None or step.ended_at == 0 else step.output

    def begun(self, path: str) -> str | None:
        """Return the id by which a step that was begun elsewhere can be found there."""
        step = self._known.get(path)
        return None if step is None or step.ended_at else step.external_id

    def decision(self, path: str, *, of: Step | None = None) -> Decision | None:
        """Return what was decided about a step as it is journaled now, or about one that is not."""
        about = 0 if of is None else of.started_at
        for step in reversed(self._known.values()):
            if step.kind == DECISION and step.path.startswith(f"{path}/{DECISION}/"):
                kept = orjson.loads(step.output)
                if kept["of"] == about:
                    return Decision(verdict=kept["verdict"], value=kept["value"])
        return None

    def note(self, path: str, plan: Plan, *, external_id: str | None = None) -> None:
        """Note that a step is about to be begun, or under which id it goes on elsewhere."""
        known = self._known.get(path)
        self._keep(
            Step(
                path=path,
                kind=plan.kind,
                identity=plan.identity,
                output="",
                external_id=external_id or (None if known is None else known.external_id),
                started_at=now_us(),
            )
        )

    async def carry_out(self, path: str, work: Callable[[], Awaitable[StepResult]], plan: Plan) -> StepResult:
        """Do the work of a step that is not finished yet, and note it."""
        started_at, resumed = now_us(), self.begun(path)
        self._probe("step.before")
        try:
            result = await work()
        except asyncio.CancelledError:
            if plan.kind == MODEL:  # it is paid for, or may be
                self.usage += Usage(model_calls=1)
            raise
        self._probe("step.after")
        spent, begun = result.usage, self._known.get(path)
        if self._is_after_crash:
            if resumed is None or begun is None or begun.external_id != resumed:
                spent += Usage(wasted_calls=spent.model_calls)
            self._is_after_crash = False
        self._keep(
            Step(
                path=path,
                kind=plan.kind,
                identity=plan.identity,
                output=result.output,
                usage=spent,
                external_id=None if begun is None else begun.external_id,
                started_at=started_at,
                ended_at=now_us(),
            )
        )
        self.usage += spent
        return result

    def _keep(self, step: Step) -> None:
        self._known[step.path] = self._unwritten[step.path] = step


def decided(wait: Wait, decision: Decision, *, steps: Iterable[Step], epoch: int) -> Step:
    """Return the step that a decision is journaled as, about a run that waits in this epoch.

    Raises :class:`~tertulia.errors.InvalidInput` for a value that JSON cannot hold.
    """
    about = {step.path: step.started_at for step in steps}.get(wait.path, 0)
    at = now_us()
    kept = {"verdict": decision.verdict, "value": decision.value, "of": about}
    try:
        output = orjson.dumps(kept).decode()
    except TypeError as error:
        raise InvalidInput(f"this value cannot be kept: {error}") from None
    return Step(
        path=f"{wait.path}/{DECISION}/{epoch}",
        kind=DECISION,
        identity=sha256(output.encode()).digest(),
        output=output,
        started_at=at,
        ended_at=at,
    )


def is_repeated(decision: Decision, steps: Iterable[Step]) -> bool:
    """Whether a decision is in a journal already: under its path, or without one as the newest."""
    made = [step for step in steps if step.kind == DECISION and step.output]
    if decision.path is None:
        made = made[-1:]
    else:
        made = [step for step in made if step.path.startswith(f"{decision.path}/{DECISION}/")]
    kept = [orjson.loads(step.output) for step in made]
    return any((each["verdict"], each["value"]) == (decision.verdict, decision.value) for each in kept)


def _after_unknown(step: Step, plan: Plan, decision: Decision | None) -> StepResult | None:
    verdict = plan.on_unknown if decision is None else decision.verdict
    if verdict == "retry":
        return None
    if verdict == "done" and decision is not None:
        return StepResult(output=orjson.dumps(decision.value).decode())
    told = f"whether step {step.path} took effect before its process ended is not known"
    if verdict == "fail":
        raise UnknownOutcome(told)
    raise _suspended("unknown_outcome", step.path, told, plan.subject)


def _after_change(step: Step, plan: Plan, decision: Decision | None) -> StepResult | None:
    verdict = "ask" if decision is None else decision.verdict
    if verdict == "redo":
        return None
    if verdict == "keep":
        return StepResult(output=step.output, usage=step.usage)
    told = f"step {step.path} is journaled, but with other content: the code has changed since"
    if verdict == "fail":
        raise NeedsAttention(told)
    raise _suspended("needs_attention", step.path, told, plan.subject)


def _suspended(kind: WaitKind, path: str, message: str, subject: str) -> Suspended:
    return Suspended(Wait(kind=kind, path=path, message=message, until=now_us() + WAIT_US, subject=subject))
