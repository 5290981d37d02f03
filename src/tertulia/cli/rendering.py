"""How a terminal shows what was written elsewhere: as Markdown, and never obeying it."""

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markdown import Markdown
from rich.segment import Segment

from tertulia.cli.plain import plain


class Plain:
    """Something to be printed, with nothing in it but styles and what :func:`plain` leaves.

    It looks at what is rendered, as Markdown, for one, can spell characters as numbers.
    """

    def __init__(self, inner: RenderableType) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        """Render what is inside."""
        for segment in console.render(self._inner, options):
            yield segment if segment.control else Segment(plain(segment.text), segment.style)


def rendered(text: str) -> Markdown:
    """Return Markdown whose links show where they lead."""
    return Markdown(plain(text), hyperlinks=False)


def last_lines(text: str, count: int) -> str:
    """Return the last lines of a text, one at least."""
    return "\n".join(text.split("\n")[-max(count, 1) :])
