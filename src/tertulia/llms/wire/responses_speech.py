"""What a model says and thinks, from pieces and from the whole, as events."""

from typing import Final

from tertulia.llms.base import LLMEvent, ReasoningDelta, TextDelta
from tertulia.llms.wire.speech import check_size
from tertulia.llms.wire.sse import CleanText
from tertulia.messages import clean_text

GAP: Final = "\n\n"
"""Stands between two messages, or two sections of reasoning."""


class SpokenItems:
    """What has been said and thought so far; all methods add their events to a list."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._said, self._thought = CleanText(), CleanText()
        self._place: object = None
        self._size = 0

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(self._texts)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said."""
        return not self._texts

    def say(self, piece: str, out: list[LLMEvent], *, place: object) -> None:
        """Add to what is said; ``place`` distinguishes the messages of an answer."""
        if place != self._place:
            self._place = place
            piece = GAP + piece if self._texts else piece
        self._say(self._said.feed(piece), out)

    def think(self, piece: str, out: list[LLMEvent]) -> None:
        """Add to what is thought."""
        self._think(self._thought.feed(piece), out)

    def complete(self, whole: str, out: list[LLMEvent]) -> None:
        """Say what the pieces have left out of the whole text, as where there were none."""
        self._say(self._said.rest(), out)
        self._think(self._thought.rest(), out)
        whole, said = clean_text(whole), self.text
        if len(whole) > len(said) and whole.startswith(said):
            self._say(whole[len(said) :], out)

    def _say(self, text: str, out: list[LLMEvent]) -> None:
        if text:
            self._grow(text)
            self._texts.append(text)
            out.append(TextDelta(text))

    def _think(self, text: str, out: list[LLMEvent]) -> None:
        if text:
            self._grow(text)
            out.append(ReasoningDelta(text))

    def _grow(self, text: str) -> None:
        self._size += len(text)
        check_size(self._size)


def joined(events: list[LLMEvent]) -> list[LLMEvent]:
    """Return events with neighbouring pieces of the same kind made one."""
    found: list[LLMEvent] = []
    for event in events:
        last = found[-1] if found else None
        if isinstance(event, TextDelta) and isinstance(last, TextDelta):
            found[-1] = TextDelta(last.text + event.text)
        elif isinstance(event, ReasoningDelta) and isinstance(last, ReasoningDelta):
            found[-1] = ReasoningDelta(last.text + event.text)
        else:
            found.append(event)
    return found
