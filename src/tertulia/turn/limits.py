"""How far a run may go: looked at before each step that costs something."""

from tertulia.agent_settings import RunLimits
from tertulia.engine.active import ActiveRun
from tertulia.errors import BudgetExceeded
from tertulia.turn.speaker import Speaker


def check_limits(run: ActiveRun, limits: RunLimits, path: str) -> None:
    """Raise :class:`~tertulia.errors.BudgetExceeded` if the run may not take this step any more.

    A step that was begun already is not refused, so that a run which goes on after a crash comes as
    far as it had come.
    """
    if run.journal.knows(path):
        return
    usage = run.journal.usage
    for name, most, spent in (
        ("max_steps", limits.max_steps, usage.model_calls + usage.tool_calls),
        ("max_tokens", limits.max_tokens, usage.input_tokens + usage.output_tokens),
        ("max_seconds", limits.max_seconds, run.journal.seconds),
        ("max_cost", limits.max_cost, usage.cost),
    ):
        if most is not None and spent >= most:
            raise BudgetExceeded(f"the run has used up what it was allowed: {name} is {most:g}")


def steps_left(run: ActiveRun, limits: RunLimits) -> int | None:
    """Return how many steps the run may still take; ``None`` for as many as it likes."""
    usage = run.journal.usage
    return (
        None if limits.max_steps is None else max(limits.max_steps - usage.model_calls - usage.tool_calls, 0)
    )


def seconds_left(run: ActiveRun, limits: RunLimits) -> float | None:
    """Return how many seconds the run's steps may still take; ``None`` for as long as they like."""
    return None if limits.max_seconds is None else max(limits.max_seconds - run.journal.seconds, 0.001)


def call_seconds(run: ActiveRun, speaker: Speaker) -> float:
    """Return how long the next call of an agent's model may take."""
    most = speaker.settings.timeout or speaker.call_seconds
    left = seconds_left(run, speaker.limits)
    return most if left is None else min(most, left)
