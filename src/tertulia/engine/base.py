"""The port to whoever carries out runs."""

from typing import Protocol

from tertulia.engine.active import ActiveRun
from tertulia.engine.turns import Turn


class Performer(Protocol):
    """Carries out runs: an agent, a group chat, anything that answers.

    Laws: everything that costs money or has an effect goes through ``run.step``; what decides
    between steps depends on nothing but the run and the results of its steps, so that another
    process comes to the same steps; nothing is kept on the performer that a restart may lose; what
    it starts beside itself ends with it (a ``TaskGroup`` does that), and what ``run`` raises passes
    through it, being cancelled too. It may be called for many runs at once, and again for a run that
    another process began.
    """

    async def perform(self, run: ActiveRun) -> Turn | None:
        """Carry out a run and return its last turn, which is committed together with its end.

        Earlier turns go through ``run.commit_turn``; ``None`` if all have. What it raises ends the
        run as failed.
        """
        ...
