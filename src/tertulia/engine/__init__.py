"""Runs, from the request that is accepted to the end that is kept."""

from tertulia.engine.active import ActiveRun
from tertulia.engine.base import POINTS, Performer, Probe, StepResult, Turn, unobserved
from tertulia.engine.engine import Engine
from tertulia.engine.tickets import Ticket

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
