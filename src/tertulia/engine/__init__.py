"""Runs, from the request that is accepted to the end that is kept."""

from tertulia.engine.active import ActiveRun
from tertulia.engine.base import Performer
from tertulia.engine.engine import Engine
from tertulia.engine.probe import POINTS, Probe, unobserved
from tertulia.engine.tickets import Ticket
from tertulia.engine.turns import StepResult, Turn

__all__ = [
    "POINTS",
    "ActiveRun",
    "Engine",
    "Performer",
    "Probe",
    "StepResult",
    "Ticket",
    "Turn",
    "unobserved",
]
