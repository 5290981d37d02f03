"""``tertulia chat``: a person at a terminal, or lines from a pipe, talking to an agent."""

import os
import sys
from collections.abc import Sequence
from typing import TextIO

from anyio.from_thread import BlockingPortal, start_blocking_portal
from rich.console import Console

from tertulia.app import App
from tertulia.cli.deciding import how_to_decide, shown
from tertulia.cli.plain import plain
from tertulia.cli.talk import Talk
from tertulia.cli.terminal import Terminal
from tertulia.errors import NeedsAttention
from tertulia.server.exchanges import spoken
from tertulia.settings import Settings, load_settings, misspelt


def chat(agent: str | None, *, new: bool, agents: Sequence[str] = ()) -> None:
    """Talk until the person leaves, or the pipe ends."""
    settings = load_settings({"agents": ",".join(agents) or None})
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
    """Send line by line and write every answer as it is; the first failure ends it.

    So does what waits for a decision, since nobody is there to ask: how to decide is told.
    """
    for line in lines:
        if text := line.strip():
            _check_nothing_waits(portal, talk)
            ticket = portal.call(talk.say, text)
            try:
                finished = portal.call(talk.answered, ticket)
            except NeedsAttention:
                _check_nothing_waits(portal, talk)
                raise
            out.write(plain(spoken(finished.messages)) + "\n")
            out.flush()


def _check_nothing_waits(portal: BlockingPortal, talk: Talk) -> None:
    if (waiting := portal.call(talk.waiting)) is not None:
        told = f"{shown(waiting.wait)}\n{how_to_decide(waiting, talk.address)}"
        raise NeedsAttention(told).in_run(waiting.run_id)


async def _open(settings: Settings) -> App:
    app = App(settings, notify=_note)
    app.check_model(None)
    await app.start()
    return app


def _note(line: str) -> None:
    sys.stderr.write(f"{plain(line)}\n")
