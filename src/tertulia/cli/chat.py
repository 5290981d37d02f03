"""``tertulia chat``: a person at a terminal, or lines from a pipe, talking to an agent."""

import os
import sys
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Final, TextIO, TypeAlias

from anyio.from_thread import BlockingPortal, start_blocking_portal
from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape

from tertulia.app import App
from tertulia.cli.plain import plain
from tertulia.cli.rendering import Plain, last_lines, rendered
from tertulia.cli.talk import Talk
from tertulia.engine import Ticket
from tertulia.errors import TertuliaError
from tertulia.events import Event, RunFinished, StepRestarted, TextDelta
from tertulia.server.exchanges import spoken
from tertulia.settings import Settings, load_settings, misspelt

with suppress(ImportError):
    import readline  # noqa: F401 - gives line editing to input()

_PROMPT: Final = "[bold cyan]you >[/] "
_COMMANDS: Final = "/new begins a new conversation, /history shows what was said, /quit leaves."
_LEFT: Final = "[dim]Left alone; the answer will be finished and kept: /history shows it.[/]"
_HISTORY: Final = 20
_FRAMES: Final = 12

Told: TypeAlias = Event | TertuliaError | None


def chat(agent: str | None, *, new: bool) -> None:
    """Talk until the person leaves, or the pipe ends."""
    settings = load_settings()
    settings.make_data_dir()
    for name, nearest in misspelt(os.environ).items():
        _note(f"{name} is no setting" + (f"; did you mean {nearest}?" if nearest else ""))
    # The loop runs beside the terminal, so that an answer goes on while the next line is typed.
    with start_blocking_portal() as portal:
        app = portal.call(_open, settings)
        try:
            talk = portal.call(Talk.resume, app, agent)
            if new:
                talk.renew()
            if sys.stdin.isatty():
                Terminal(portal, talk, Console(highlight=False)).converse()
            else:
                pipe(portal, talk, sys.stdin, sys.stdout)
        finally:
            portal.call(app.stop)


def pipe(portal: BlockingPortal, talk: Talk, lines: TextIO, out: TextIO) -> None:
    """Send line by line and write every answer as it is; the first failure ends it."""
    for line in lines:
        if text := line.strip():
            ticket = portal.call(talk.say, text)
            finished = portal.call(ticket.finished)
            out.write(plain(spoken(finished.messages)) + "\n")
            out.flush()


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
        except KeyboardInterrupt:
            self._print(_LEFT)

    def _watch(self, ticket: Ticket) -> None:
        told: SimpleQueue[Told] = SimpleQueue()
        self._watching = self._portal.start_task_soon(_follow, ticket, told)
        text = ""
        with Live(console=self._console, refresh_per_second=_FRAMES, transient=True) as live:
            while (event := told.get()) is not None:
                if isinstance(event, TertuliaError):
                    raise event
                text = _grown(text, event)
                live.update(Plain(rendered(last_lines(text, self._console.height - 2))))
        self._print(rendered(text))


async def _open(settings: Settings) -> App:
    app = App(settings, notify=_note)
    app.check_model(None)
    await app.start()
    return app


def _note(line: str) -> None:
    sys.stderr.write(f"{plain(line)}\n")


async def _follow(ticket: Ticket, told: "SimpleQueue[Told]") -> None:
    try:
        async for numbered in ticket.events():
            told.put(numbered.event)
        await ticket.finished()
    except TertuliaError as error:
        told.put(error)
    finally:
        told.put(None)


def _grown(text: str, event: Event) -> str:
    """Return the answer as it stands after an event."""
    if isinstance(event, TextDelta):
        return text + event.text
    if isinstance(event, StepRestarted):
        return ""
    if isinstance(event, RunFinished):
        return spoken(event.messages)
    return text
