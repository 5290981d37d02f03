"""A talk as a person at a terminal sees it."""

from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final, TypeAlias

from anyio.from_thread import BlockingPortal
from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape

from tertulia.cli.deciding import needed_for, shown, verdict_of, words_for
from tertulia.cli.hearing import Heard
from tertulia.cli.rendering import Plain, rendered
from tertulia.cli.talk import Talk
from tertulia.engine import VERDICTS, Ticket
from tertulia.errors import ConversationClosed, NotWaiting, TertuliaError
from tertulia.events import Event, RunWaiting, first_seq

with suppress(ImportError):
    import readline  # noqa: F401 - gives line editing to input()

_PROMPT: Final = "[bold cyan]you >[/] "
_COMMANDS: Final = (
    "/new begins a conversation, /reopen opens a closed one, /history shows what was said, /quit leaves."
)
_CLOSED: Final = "/reopen opens it again, /new begins another one."
_LEFT: Final = "[dim]Left alone; the answer will be finished and kept: /history shows it.[/]"
_OPEN: Final = (
    "Left open; until it is decided, nothing more is answered here. Your next message asks for it again, "
    "as does `tertulia chat` when it is started; or decide with POST /v1/runs/{run}/decide."
)
_HISTORY: Final = 20
_FRAMES: Final = 12
_LOOK_SECONDS: Final = 1.0

Told: TypeAlias = Event | TertuliaError | None


class Terminal:
    """The talk as a person sees it."""

    def __init__(
        self, portal: BlockingPortal, talk: Talk, console: Console, *, look_seconds: float = _LOOK_SECONDS
    ) -> None:
        self._portal, self._talk, self._console = portal, talk, console
        self._look_seconds = look_seconds

    def converse(self) -> None:
        """Read and answer line by line until the person leaves."""
        self._greet()
        while (line := self._read()) is not None:
            try:
                if not self._take(line):
                    break
            except TertuliaError as error:
                self._tell(error)
            except KeyboardInterrupt:
                self._print(_LEFT)

    def _greet(self) -> None:
        name = self._talk.agent.definition.name
        self._print(f"[bold]{escape(name)}[/] [dim]answered by {escape(self._talk.model)}[/]")
        self._print(f"[dim]{_COMMANDS}[/]")
        if self._talk.conversation is None:
            self._begin()
        else:
            self._print("[dim]Going on where you left off:[/]")
            self._show(1)
            try:
                self._settle()
            except TertuliaError as error:
                self._tell(error)

    def _print(self, what: RenderableType) -> None:
        self._console.print(Plain(what))

    def _tell(self, error: TertuliaError) -> None:
        more = f" {_CLOSED}" if isinstance(error, ConversationClosed) else ""
        self._print(f"[red]{escape(str(error))}[/]{more}")

    def _read(self) -> str | None:
        try:
            return self._console.input(_PROMPT).strip()
        except (EOFError, KeyboardInterrupt):
            self._console.print()
            return None

    def _take(self, line: str) -> bool:
        """Do what a line says; return whether to go on."""
        if line.startswith("/"):
            return self._obey(line)
        if line:
            self._answer(line)
        return True

    def _obey(self, line: str) -> bool:
        """Do what a command says; return whether to go on."""
        command = line.lower()
        if command in {"/quit", "/exit", "/q"}:
            return False
        if command == "/new":
            self._talk.renew()
            self._begin()
        elif command == "/reopen":
            is_there = self._portal.call(self._talk.reopen)
            self._print("[dim]It goes on.[/]" if is_there else "[dim]It has not begun yet.[/]")
        elif command == "/history":
            self._show(_HISTORY)
        else:
            self._print(_COMMANDS)
        return True

    def _begin(self) -> None:
        self._print("[dim]A new conversation.[/]")
        if opening := self._talk.agent.definition.first_message:
            self._print(rendered(opening))

    def _show(self, limit: int) -> None:
        for exchange in self._portal.call(self._talk.history, limit):
            self._print(f"{_PROMPT}{escape(exchange.asked.text)}")
            if exchange.answer is not None:
                self._print(rendered(exchange.answer))
            elif self._portal.call(self._talk.is_being_answered, exchange):
                self._print("[dim](still being answered)[/]")
            else:
                self._print("[dim](no answer)[/]")

    def _answer(self, text: str) -> None:
        # Said before what waits is decided, it would stand in line behind that.
        if self._settle():
            self._hear(self._portal.call(self._talk.say, text))
        else:
            self._print("[dim]Your message was not sent.[/]")

    def _settle(self) -> bool:
        """Have what waits decided, and hear what comes of it; return whether nothing waits any more."""
        while (waiting := self._portal.call(self._talk.waiting)) is not None:
            try:
                ticket = self._decide(waiting)
                if ticket is None or not self._hear(ticket, after=first_seq(ticket.run.epoch) - 1):
                    return False
            except TertuliaError as error:
                self._tell(error)
        return True

    def _hear(self, ticket: Ticket, *, after: int = -1) -> bool:
        """Show an answer as it comes; return whether the person stayed to its end."""
        told: SimpleQueue[Told] = SimpleQueue()
        following = self._portal.start_task_soon(_follow, ticket, told, after)
        heard = Heard()
        try:
            while (waiting := self._listen(told, heard, ticket)) is not None:
                if not self._decides(waiting):
                    return False
        except KeyboardInterrupt:
            self._print(_LEFT)
            return False
        finally:
            following.cancel()
        self._print(heard.shown())
        if heard.closed is not None:
            farewell = self._talk.agent.definition.settings.farewell or "The conversation has come to its end"
            self._print(f"[dim]{escape(farewell)} ({escape(heard.closed)}). {_CLOSED}[/]")
        return True

    def _listen(self, told: "SimpleQueue[Told]", heard: Heard, ticket: Ticket) -> RunWaiting | None:
        """Show what is heard until it ends or waits for a decision; return what it waits for."""
        with Live(console=self._console, refresh_per_second=_FRAMES, transient=True) as live:
            while True:
                try:
                    event = told.get(timeout=self._look_seconds)
                except Empty:
                    if (ahead := self._waiting_ahead(heard, ticket)) is not None:
                        return ahead
                    continue
                if event is None or isinstance(event, RunWaiting):
                    return event
                if isinstance(event, TertuliaError):
                    raise event
                heard.take(event)
                live.update(Plain(heard.shown(lines=self._console.height - 2)))

    def _waiting_ahead(self, heard: Heard, ticket: Ticket) -> RunWaiting | None:
        """Return what waits in front of an answer that has not begun."""
        ahead = None if heard.has_begun else self._portal.call(self._talk.waiting)
        return None if ahead is None or ahead.run_id == ticket.run.id else ahead

    def _decides(self, waiting: RunWaiting) -> bool:
        """Have the person decide; return whether it is decided, by them or by somebody else."""
        try:
            return self._decide(waiting) is not None
        except NotWaiting as error:
            self._tell(error)
            return True

    def _decide(self, waiting: RunWaiting) -> Ticket | None:
        """Have the person decide; return what goes on then, ``None`` if they leave it open."""
        wait = waiting.wait
        self._print(f"[yellow]{escape(shown(wait))}[/]")
        try:
            while (verdict := verdict_of(self._ask(" / ".join(VERDICTS[wait.kind])).lower(), wait)) is None:
                self._print(
                    f"[dim]Decide with one of these words: {words_for(wait)}. Ctrl-C leaves it open.[/]"
                )
            needed = needed_for(verdict)
            value = (self._ask(needed) or None) if needed else None
        except (EOFError, KeyboardInterrupt):
            self._console.print()
            self._print(f"[dim]{escape(_OPEN.format(run=waiting.run_id))}[/]")
            return None
        return self._portal.call(self._talk.decide, waiting, verdict, value)

    def _ask(self, question: str) -> str:
        return self._console.input(f"[bold yellow]{question} >[/] ").strip()


async def _follow(ticket: Ticket, told: "SimpleQueue[Told]", after: int) -> None:
    try:
        async for numbered in ticket.events(after=after):
            told.put(numbered.event)
        await ticket.finished()
    except TertuliaError as error:
        told.put(error)
    finally:
        told.put(None)
