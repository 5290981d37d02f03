"""Turns: one agent's contribution, where memory, tools and the model meet."""

from tertulia.turn.accompanied import speak
from tertulia.turn.speaker import Speaker, Windows
from tertulia.turn.summary import summarize
from tertulia.turn.taking import take

__all__ = ["Speaker", "Windows", "speak", "summarize", "take"]
