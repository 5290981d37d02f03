"""What was heard of an answer so far, as a terminal shows it."""

from dataclasses import dataclass, field
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from tertulia.cli.plain import plain
from tertulia.cli.rendering import last_lines, rendered
from tertulia.events import (
    Event,
    ReasoningDelta,
    RunFinished,
    StepRestarted,
    TextDelta,
    ToolCalled,
    ToolFinished,
)
from tertulia.server.exchanges import spoken

_LONGEST: Final = 100


@dataclass(slots=True)
class Heard:
    """An answer that grows: the words, and a line for each tool that was used on the way."""

    text: str = ""
    tools: dict[str, str] = field(default_factory=dict)
    """Lines, by the ids of the calls."""
    has_begun: bool = False
    """Whether anything was told at all; else it may stand in line."""
    is_thinking: bool = False
    closed: str | None = None
    """Why the conversation has come to its end with it."""

    def take(self, event: Event) -> None:
        """Take in what is told next."""
        self.has_begun = True
        self.is_thinking = isinstance(event, ReasoningDelta)
        match event:
            case TextDelta():
                self.text += event.text
            case StepRestarted():
                self.text = ""
            case ToolCalled():
                self.text = ""
                self.tools[event.call_id] = _line(event.name, event.arguments, "…")
            case ToolFinished():
                mark = "✗" if event.is_error else "→"
                self.tools[event.call_id] = _line(event.name, mark, event.text)
            case RunFinished():
                self.text, self.closed = spoken(event.messages), event.closed

    def shown(self, *, lines: int | None = None) -> RenderableType:
        """Return it to be printed, or of a long text the last lines."""
        text = self.text if lines is None else last_lines(self.text, lines - len(self.tools))
        above = [Text(line, style="dim") for line in self.tools.values()]
        if self.is_thinking:
            above.append(Text("thinking …", style="dim italic"))
        return Group(*above, rendered(text)) if above else rendered(text)


def _line(*words: str) -> str:
    line = plain(" ".join(("·", *words))).replace("\n", " ")
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
