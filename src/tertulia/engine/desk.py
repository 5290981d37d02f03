"""What every run that is carried out here works with."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tertulia.engine.leaving import Leaving
from tertulia.engine.probe import Probe, unobserved
from tertulia.engine.recording import Recorder
from tertulia.engine.resting import Pause
from tertulia.stores.base import ConversationStore, RunStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What an engine puts at the disposal of every run."""

    runs: RunStore
    conversations: ConversationStore
    recorder: Recorder
    leaving: Leaving
    jobs_made: Callable[[], None]
    """Told when jobs have been stored."""
    probe: Probe = unobserved
    pause: Pause = asyncio.sleep
