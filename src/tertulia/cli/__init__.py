"""The command line: serve, chat, and what an operator needs.

Each command is imported when it is called, so that ``tertulia --help`` stays quick.
"""

from typing import Annotated, Final

import typer

from tertulia import __version__
from tertulia.cli.plain import plain
from tertulia.errors import InvalidInput, TertuliaError
from tertulia.registry import load

_USAGE_ERROR: Final = 2

app = typer.Typer(
    name="tertulia",
    help="Conversational agents that never lose the thread.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
database = typer.Typer(help="Look after the database.", no_args_is_help=True)
app.add_typer(database, name="db")


def main() -> None:
    """Run the command line; what is wrong with a request is told in one line."""
    try:
        app()
    except TertuliaError as error:
        typer.echo(plain(f"tertulia: {error}"), err=True)
        raise SystemExit(_USAGE_ERROR if isinstance(error, InvalidInput) else 1) from None


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tertulia {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def serve(
    agents: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODULE:NAME]...",
            help="Agents written in Python, served beside those that are stored; TERTULIA_AGENTS.",
            show_default=False,
        ),
    ] = None,
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on; TERTULIA_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on, 0 for a free one; TERTULIA_PORT.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes; more than one needs PostgreSQL.")] = 1,
) -> None:
    """Start the server.

    Agents that were written in Python are named as MODULE:NAME, and served beside those that are stored.
    """
    load("tertulia.cli.serve:serve")(agents or (), host=host, port=port, workers=workers)


@app.command()
def chat(
    agent: Annotated[
        str | None, typer.Argument(help="Name or id of the agent; default: the one spoken with last.")
    ] = None,
    *,
    new: Annotated[bool, typer.Option("--new", help="Begin a new conversation.")] = False,
    agents: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE:NAME",
            help="Agents written in Python that can be talked to as well; TERTULIA_AGENTS.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Talk to an agent in the terminal, on the same database as the server.

    Goes on with the conversation in which something was said last. What is piped in is sent line by line.
    """
    load("tertulia.cli.chat:chat")(agent, new=new, agents=agents or ())


@app.command()
def models(
    provider: Annotated[str | None, typer.Argument(help="Only this provider's models.")] = None,
) -> None:
    """List the models that the configured providers offer, as agents name them."""
    load("tertulia.cli.models:models")(provider)


@app.command()
def doctor(
    *,
    ask: Annotated[
        bool, typer.Option("--ask", help="Really ask each model something tiny, which may cost something.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Say what is configured, what works, what is missing, and what to type.

    Changes nothing, and shows no secrets. Ends with 1 if something is broken.
    """
    load("tertulia.cli.doctor:doctor")(asks=ask, as_json=json)


@database.command("upgrade")
def upgrade() -> None:
    """Bring the database to its newest form."""
    load("tertulia.cli.database:upgrade")()
