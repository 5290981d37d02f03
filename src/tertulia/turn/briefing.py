"""What a model is told in one run beside its agent's own texts and the conversation."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

import orjson

from tertulia.llms.base import Shown
from tertulia.memory.context.base import RunContext
from tertulia.memory.pairing import shown_of
from tertulia.memory.tokens import MESSAGE_TOKENS, estimate, tokens_of
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
    names: tuple[str, ...] = ()
    """Of the providers that have told anything."""
    doubles: tuple[tuple[str, str], ...] = ()
    """Tools that were left out since another provider's has the name: the provider, and the name."""

    @classmethod
    def of(cls, contexts: Iterable[tuple[str, RunContext]]) -> Self:
        """Return what the contexts of providers, by their names, come to in their order.

        Of two tools with one name the first is taken.
        """
        given, tools, doubles = list(contexts), dict[str, Tool](), list[tuple[str, str]]()
        for name, context in given:
            for each in map(as_tool, context.tools):
                if tools.setdefault(each.spec.name, each) is not each:
                    doubles.append((name, each.spec.name))
        return cls(
            instructions=tuple(each.instructions for _, each in given if each.instructions.strip()),
            shown=tuple(_shown(message) for _, each in given for message in each.messages),
            tools=tools,
            has_tools=bool(tools),
            names=tuple(
                name for name, each in given if each.instructions.strip() or each.messages or each.tools
            ),
            doubles=tuple(doubles),
        )

    @classmethod
    def of_kept(cls, output: str | None) -> Self | None:
        """Return what a journaled answer was given with; ``None`` if there is none."""
        kept = None if output is None else orjson.loads(output).get("briefing")
        if kept is None:
            return None
        shown = tuple(Shown(role=role, text=text) for role, text in kept["shown"])
        names = tuple(kept.get("names", ()))
        return cls(tuple(kept["instructions"]), shown, has_tools=kept["has_tools"], names=names)

    def kept(self) -> dict[str, Any]:
        """Return it as the journal keeps it, in JSON; of media only that there were some."""
        shown = [(each.role, each.text) for each in self.shown]
        return {
            "instructions": list(self.instructions),
            "shown": shown,
            "has_tools": self.has_tools,
            "names": list(self.names),
        }

    def within(self, tokens: int) -> tuple[Self, int]:
        """Return it without those texts for which so many tokens are too few; and how many these are.

        Instructions come before messages, and of each what was given first.
        """
        left, instructions, shown = tokens, [], []
        for text in self.instructions:
            if estimate(text) <= left:
                left -= estimate(text)
                instructions.append(text)
        for each in self.shown:
            if (size := _tokens(each)) <= left:
                left -= size
                shown.append(each)
        left_out = len(self.instructions) + len(self.shown) - len(instructions) - len(shown)
        return replace(self, instructions=tuple(instructions), shown=tuple(shown)), left_out

    def without_texts(self) -> Self:
        """Return only the tools."""
        return replace(self, instructions=(), shown=())

    @property
    def text(self) -> str:
        """All that its messages say."""
        return "\n\n".join(each.text for each in self.shown)


NOTHING: Final = Briefing()


def _tokens(shown: Shown) -> int:
    return tokens_of(shown.parts) if shown.parts else MESSAGE_TOKENS + estimate(shown.text)


def _shown(message: Message | str) -> Shown:
    if isinstance(message, str):
        return Shown(role="user", text=message)
    return shown_of(message)
