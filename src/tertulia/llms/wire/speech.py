"""What a model says and what it thinks, put together from pieces."""

from typing import Final, TypeAlias

from tertulia.errors import ModelMalformed
from tertulia.llms.base import ReasoningDelta, TextDelta
from tertulia.llms.wire.sse import CleanText
from tertulia.llms.wire.thoughts import ThinkingAloud

MAX_ANSWER: Final = 20 * 1024 * 1024
"""Characters of an answer that is still believed to be one: text, reasoning and calls together."""

Told: TypeAlias = list[TextDelta | ReasoningDelta]


class Speech:
    """The text and the reasoning of an answer so far, clean."""

    def __init__(self) -> None:
        self._clean, self._clean_thought = CleanText(), CleanText()
        self._aloud = ThinkingAloud()
        self._texts: list[str] = []
        self._apart: list[str] = []
        self._thought_aloud: list[str] = []
        self.size = 0
        """Characters of both."""

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(self._texts)

    @property
    def thought(self) -> str:
        """All that was thought."""
        return "".join((*self._apart, *self._thought_aloud)).strip()

    def hear(self, said: str, thought: str) -> Told:
        """Take in pieces, and return what they add; raises ``ModelMalformed`` for too much."""
        told = self._keep(self._apart, self._clean_thought.feed(thought)) if thought else []
        return told + self._say(self._clean.feed(said)) if said else told

    def end(self) -> Told:
        """Return what was still waited for."""
        told = self._keep(self._apart, self._clean_thought.rest()) + self._say(self._clean.rest())
        thought, text = self._aloud.rest()
        return told + self._keep(self._thought_aloud, thought) + self._keep(self._texts, text)

    def _say(self, text: str) -> Told:
        if self._aloud.is_over:
            return self._keep(self._texts, text)
        thought, text = self._aloud.feed(text)
        return self._keep(self._thought_aloud, thought) + self._keep(self._texts, text)

    def _keep(self, where: list[str], piece: str) -> Told:
        if not piece:
            return []
        where.append(piece)
        self.size += len(piece)
        check_size(self.size)
        return [TextDelta(piece) if where is self._texts else ReasoningDelta(piece)]


def check_size(size: int) -> None:
    """Raise ``ModelMalformed`` for an answer of more characters than one can have."""
    if size > MAX_ANSWER:
        raise ModelMalformed("the model's answer is too long to be one")
