"""What is asked of every store, one room of the contract in each module."""

from typing import Final

import pytest

ROOMS: Final = (
    "abandoned",
    "accepting",
    "agents",
    "branch_requests",
    "branching",
    "closing",
    "committing",
    "content",
    "conversations",
    "isolation",
    "jobs",
    "journaling",
    "leasing",
    "listing",
    "marking",
    "once",
    "opening",
    "racing",
    "recording",
    "repeating",
    "resuming",
    "rolling_back",
    "stopping",
    "waiting",
)

# Before they are imported, so that their failures show what was compared.
pytest.register_assert_rewrite(*[f"{__name__}.{room}" for room in ROOMS])
