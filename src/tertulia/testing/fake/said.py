"""What the model says to one call, before it takes the form of a wire."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final
from uuid import uuid4

from tertulia.llms.base import Finished, FinishReason
from tertulia.parts import ToolCall

MODEL: Final = "fake-1"
FAILURE: Final = "SECRET prompt of a user"
"""What failures tell, as providers do that repeat what they were sent."""
PLACE: Final = "\ue000"
"""Stands in a text for bytes that no encoder writes."""

_FILLER: Final = "The quick brown fox jumps over the lazy dog, and the dog sleeps on. "
_MARK: Final = b"[["
_CHARACTERS_PER_TOKEN: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One answer: what the model thinks, then what it says or refuses, then the tools it calls."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    """Those without an id get one."""
    refusal: str = ""
    reasoning: str = ""
    reason: FinishReason | None = None
    """Why it ends; ``None`` finds that out from the rest."""
    failure: str = ""
    """Code of the failure that the answer ends in, on the wires that have such answers."""
    is_nothing: bool = False
    """Whether the answer lacks even an empty text."""
    raw: bytes = b""
    """What is sent where :data:`PLACE` stands."""

    @classmethod
    def of(cls, finished: Finished) -> "Said":
        """Return what a plug would have to tell as this."""
        thought = "".join(each.text for each in finished.reasoning)
        reason = None if finished.finish_reason == "stop" else finished.finish_reason
        return cls(text=finished.text, calls=finished.calls, reasoning=thought, reason=reason)

    @property
    def ends(self) -> FinishReason:
        """Why it ends."""
        return self.reason or ("tool_calls" if self.calls else "stop")

    @property
    def tokens(self) -> int:
        """What it costs, thinking included."""
        calls = sum(tokens_of(call.name + call.arguments) for call in self.calls)
        return tokens_of(self.text + self.refusal) + tokens_of(self.reasoning) + calls

    def named(self) -> "Said":
        """Return it with an id for every call."""
        if all(call.id for call in self.calls):
            return self
        calls = tuple(call if call.id else replace(call, id=fresh_id("call")) for call in self.calls)
        return replace(self, calls=calls)

    def sent(self, encoded: bytes) -> bytes:
        """Return its encoded form as it is sent."""
        return encoded.replace(PLACE.encode(), self.raw) if self.raw else encoded


def fresh_id(kind: str) -> str:
    """Return an id as OpenAI writes them."""
    return f"{kind}_{uuid4().hex}"


def tokens_of(text: str) -> int:
    """Return what a text costs."""
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


def marks(body: bytes) -> int:
    """Return how often ``[[`` stands in what the model was sent."""
    return body.count(_MARK)


@lru_cache(maxsize=1024)
def filler(found: int, characters: int) -> str:
    """Return the default reply, ``m=<marks> `` and filler."""
    head = f"m={found} "
    missing = max(0, characters - len(head))
    return head + (_FILLER * (missing // len(_FILLER) + 1))[:missing]


def pieces(text: str, size: int) -> Iterator[str]:
    """Yield a text in pieces of ``size`` characters."""
    for start in range(0, len(text), size):
        yield text[start : start + size]
