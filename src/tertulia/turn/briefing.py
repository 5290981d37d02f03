"""What a model is told in one run beside its agent's own texts and the conversation."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final, Self

import orjson

from tertulia.llms.base import Shown
from tertulia.memory.context.base import RunContext
from tertulia.memory.pairing import shown_of
from tertulia.memory.tokens import MESSAGE_TOKENS, estimate
from tertulia.messages import Message
from tertulia.tools.base import Tool
from tertulia.tools.functions import as_tool


@dataclass(frozen=True, slots=True)
class Briefing:
    """What the context providers of an agent have given for a run."""

    instructions: tuple[str, ...] = ()
    shown: tuple[Shown, ...] = ()
    """Comes just before the message that is to be answered."""
    tools: Mapping[str, Tool] = field(default_factory=dict)
    has_tools: bool = False
    """Whether there were tools; those of a run that goes on have to be had again."""

    @classmethod
    def of(cls, contexts: Iterable[RunContext]) -> Self:
        """Return what several contexts come to, in their order; of two tools with one name the first."""
        given = list(contexts)
        tools: dict[str, Tool] = {}
        for each in (made for context in given for made in map(as_tool, context.tools)):
            tools.setdefault(each.spec.name, each)
        return cls(
            instructions=tuple(context.instructions for context in given if context.instructions.strip()),
            shown=tuple(_shown(each) for context in given for each in context.messages),
            tools=tools,
            has_tools=bool(tools),
        )

    @classmethod
    def of_kept(cls, output: str | None) -> Self | None:
        """Return what a journaled answer was given with; ``None`` if there is none."""
        kept = None if output is None else orjson.loads(output).get("briefing")
        if kept is None:
            return None
        shown = tuple(Shown(role=role, text=text) for role, text in kept["shown"])
        return cls(tuple(kept["instructions"]), shown, has_tools=kept["has_tools"])

    def kept(self) -> dict[str, Any]:
        """Return it as the journal keeps it, in JSON; of media only that there were some."""
        shown = [(each.role, each.text) for each in self.shown]
        return {"instructions": list(self.instructions), "shown": shown, "has_tools": self.has_tools}

    def within(self, tokens: int) -> tuple[Self, int]:
        """Return it with the first of its texts that have so many tokens; and how many it lacks then.

        Instructions come before messages.
        """
        sizes = [estimate(text) for text in self.instructions]
        sizes += [estimate(shown.text) + MESSAGE_TOKENS for shown in self.shown]
        fitting = sum(1 for total in accumulate(sizes) if total <= tokens)
        left_out = len(sizes) - fitting
        if not left_out:
            return self, 0
        instructions = self.instructions[:fitting]
        shown = self.shown[: max(fitting - len(self.instructions), 0)]
        return type(self)(instructions, shown, self.tools, self.has_tools), left_out

    @property
    def tokens(self) -> int:
        """Estimated tokens of its messages."""
        return sum(estimate(shown.text) + MESSAGE_TOKENS for shown in self.shown)


NOTHING: Final = Briefing()


def _shown(message: Message | str) -> Shown:
    if isinstance(message, str):
        return Shown(role="user", text=message)
    return shown_of(message)
