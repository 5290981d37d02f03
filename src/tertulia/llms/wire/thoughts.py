"""What a model thinks, told from what it says."""

from collections.abc import Mapping
from typing import Any, Final

from tertulia.errors import ModelMalformed

_OPENS: Final = "<think>"
_CLOSES: Final = "</think>"
_SPELLINGS: Final = ("reasoning_content", "reasoning")


def thought_beside(delta: Mapping[str, Any]) -> str:
    """Return the reasoning that a delta or a message carries beside its text, however that is spelt.

    Servers that use both spellings say the same in both.
    """
    for name in _SPELLINGS:
        if isinstance(thought := delta.get(name), str) and thought:
            return thought
    return ""


def parts_of(content: object) -> tuple[str, str]:
    """Return the text and the reasoning in a message's content: text, nothing, or a list of parts.

    Raises :class:`~tertulia.errors.ModelMalformed` for what is neither.
    """
    if content is None or isinstance(content, str):
        return content or "", ""
    if not isinstance(content, list):
        raise ModelMalformed("the model's provider sent something that is not text")
    parts = [part for part in content if isinstance(part, dict)]
    said = [part.get("text") for part in parts if part.get("type") == "text"]
    thought = [_inner(part.get("thinking")) for part in parts if part.get("type") == "thinking"]
    return "".join(text for text in said if isinstance(text, str)), "".join(thought)


def _inner(thinking: object) -> str:
    return thinking if isinstance(thinking, str) else parts_of(thinking)[0]


class ThinkingAloud:
    """Takes what stands in ``<think>…</think>`` at the very beginning of a text for reasoning.

    Only there, and only in this spelling, so that text about such tags stays text; blanks around it go
    with it. Where the end never comes, all that has been heard is reasoning.
    """

    def __init__(self) -> None:
        self._kept = ""
        self._is_inside = self._has_thought = False
        self.is_over = False
        """Whether all further text is said, so that there is no need to ask."""

    def feed(self, piece: str) -> tuple[str, str]:
        """Return what a piece adds to the reasoning and what it adds to the text."""
        self._kept += piece
        if not self._is_inside and not self._has_thought:
            self._open()
        thought = self._thought() if self._is_inside else ""
        return thought, self._said()

    def rest(self) -> tuple[str, str]:
        """Return what was still waited for."""
        kept, self._kept, self.is_over = self._kept, "", True
        if self._is_inside:
            return kept, ""
        return "", "" if self._has_thought else kept

    def _open(self) -> None:
        begun = self._kept.lstrip()
        if begun.startswith(_OPENS):
            self._is_inside, self._kept = True, begun[len(_OPENS) :]
        elif not _OPENS.startswith(begun):
            self.is_over = True

    def _thought(self) -> str:
        thought, closed, after = self._kept.partition(_CLOSES)
        if closed:
            self._is_inside, self._has_thought, self._kept = False, True, after
            return thought
        held = _held(thought)
        self._kept = thought[len(thought) - held :]
        return thought[: len(thought) - held]

    def _said(self) -> str:
        if self._has_thought and not self._is_inside:
            self._kept = self._kept.lstrip()
            self.is_over = bool(self._kept)
        if not self.is_over:
            return ""
        said, self._kept = self._kept, ""
        return said


def _held(text: str) -> int:
    """Return how many of the last characters may be the beginning of the closing tag."""
    return next((n for n in range(len(_CLOSES) - 1, 0, -1) if text.endswith(_CLOSES[:n])), 0)
