"""Runs, from the request that is accepted to the end that is kept."""

from tertulia.engine.active import ActiveRun
from tertulia.engine.base import Performer
from tertulia.engine.engine import Engine
from tertulia.engine.jobs import Worker
from tertulia.engine.journal import VERDICTS
from tertulia.engine.probe import POINTS, Probe, unobserved
from tertulia.engine.tickets import Ticket
from tertulia.engine.turns import Decision, Plan, StepResult, Turn

__all__ = [
    "POINTS",
    "VERDICTS",
    "ActiveRun",
    "Decision",
    "Engine",
    "Performer",
    "Plan",
    "Probe",
    "StepResult",
    "Ticket",
    "Turn",
    "Worker",
    "unobserved",
]
