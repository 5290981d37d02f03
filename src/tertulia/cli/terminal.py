"""A talk as a person at a terminal sees it."""

from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Final, TypeAlias

from anyio.from_thread import BlockingPortal
from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape

from tertulia.cli.hearing import Heard
from tertulia.cli.rendering import Plain, rendered
from tertulia.cli.talk import Talk
from tertulia.conversations import Wait
from tertulia.engine import VERDICTS, Ticket
from tertulia.errors import TertuliaError
from tertulia.events import Event, RunWaiting

with suppress(ImportError):
    import readline  # noqa: F401 - gives line editing to input()

_PROMPT: Final = "[bold cyan]you >[/] "
_COMMANDS: Final = "/new begins a new conversation, /history shows what was said, /quit leaves."
_CLOSED: Final = "/reopen goes on with it, /new begins another one."
_LEFT: Final = "[dim]Left alone; the answer will be finished and kept: /history shows it.[/]"
_HISTORY: Final = 20
_FRAMES: Final = 12

Told: TypeAlias = Event | TertuliaError | None


class Terminal:
    """The talk as a person sees it."""

    def __init__(self, portal: BlockingPortal, talk: Talk, console: Console) -> None:
        self._portal, self._talk, self._console = portal, talk, console
        self._watching: Future[None] | None = None

    def converse(self) -> None:
        """Read and answer line by line until the person leaves."""
        self._greet()
        while (line := self._read()) is not None:
            if line.startswith("/"):
                if not self._obey(line):
                    break
            elif line:
                self._answer(line)
        if self._watching is not None:
            self._watching.cancel()

    def _greet(self) -> None:
        name = self._talk.agent.definition.name
        self._print(f"[bold]{escape(name)}[/] [dim]answered by {escape(self._talk.model)}[/]")
        self._print(f"[dim]{_COMMANDS}[/]")
        if self._talk.conversation is None:
            self._begin()
        else:
            self._print("[dim]Going on where you left off:[/]")
            self._show(1)
            self._decide_what_waits()

    def _decide_what_waits(self) -> None:
        with suppress(EOFError, KeyboardInterrupt):
            for run in self._portal.call(self._talk.waiting):
                if run.wait is not None:
                    self._decide(run.id, run.wait)
                    self._print("[dim]It goes on; /history shows what comes of it.[/]")

    def _print(self, what: RenderableType) -> None:
        self._console.print(Plain(what))

    def _read(self) -> str | None:
        try:
            return self._console.input(_PROMPT).strip()
        except (EOFError, KeyboardInterrupt):
            self._console.print()
            return None

    def _obey(self, line: str) -> bool:
        """Do what a command says; return whether to go on."""
        command = line.lower()
        if command in {"/quit", "/exit", "/q"}:
            return False
        if command == "/new":
            self._talk.renew()
            self._begin()
        elif command == "/reopen":
            self._portal.call(self._talk.reopen)
            self._print("[dim]It goes on.[/]")
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
        try:
            ticket = self._portal.call(self._talk.say, text)
            self._watch(ticket)
        except TertuliaError as error:
            self._print(f"[red]{escape(str(error))}[/]")
        except (EOFError, KeyboardInterrupt):
            self._print(_LEFT)

    def _watch(self, ticket: Ticket) -> None:
        told: SimpleQueue[Told] = SimpleQueue()
        self._watching = self._portal.start_task_soon(_follow, ticket, told)
        heard = Heard()
        while (waiting := self._listen(told, heard)) is not None:
            self._decide(waiting.run_id, waiting.wait)
        self._print(heard.shown())
        if heard.closed is not None:
            farewell = self._talk.agent.definition.settings.farewell or "The conversation has come to its end"
            self._print(f"[dim]{escape(farewell)} ({escape(heard.closed)}). {_CLOSED}[/]")

    def _listen(self, told: "SimpleQueue[Told]", heard: Heard) -> RunWaiting | None:
        """Show what is heard until the run has ended or waits for a decision; return what it waits for."""
        with Live(console=self._console, refresh_per_second=_FRAMES, transient=True) as live:
            while (event := told.get()) is not None:
                if isinstance(event, TertuliaError):
                    raise event
                if isinstance(event, RunWaiting):
                    return event
                heard.take(event)
                live.update(Plain(heard.shown(lines=self._console.height - 2)))
        return None

    def _decide(self, run_id: str, wait: Wait) -> None:
        """Have the person decide; who leaves it open can decide later, here or over HTTP."""
        verdicts = VERDICTS[wait.kind]
        self._print(f"[yellow]{escape(wait.message)}[/]")
        while True:
            said = self._console.input(f"[bold yellow]{' / '.join(verdicts)} >[/] ").strip().lower()
            verdict = next((verdict for verdict in verdicts if said and verdict.startswith(said)), None)
            if verdict is not None:
                self._portal.call(self._talk.decide, run_id, verdict)
                return


async def _follow(ticket: Ticket, told: "SimpleQueue[Told]") -> None:
    try:
        async for numbered in ticket.events():
            told.put(numbered.event)
        await ticket.finished()
    except TertuliaError as error:
        told.put(error)
    finally:
        told.put(None)
