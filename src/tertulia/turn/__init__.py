"""One agent's turn: the only place where what is remembered, tools and a model meet."""

from tertulia.turn.speaker import Speaker, Windows
from tertulia.turn.summary import summarize
from tertulia.turn.taking import take

__all__ = ["Speaker", "Windows", "summarize", "take"]
