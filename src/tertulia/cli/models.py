"""``tertulia models``: what the providers offer."""

import asyncio

import typer

from tertulia.cli.offers import offers, silence_libraries
from tertulia.cli.plain import plain
from tertulia.errors import InvalidInput
from tertulia.llms import LLMS, LLMOptions
from tertulia.settings import load_settings


def models(provider: str | None) -> None:
    """Write the models' names, one in a line, and beside them (on standard error) who tells none, and why."""
    load_settings()  # Keys may stand in the .env file.
    if provider is not None and provider not in LLMS:
        raise InvalidInput(f"no provider {provider!r}; there are: {', '.join(sorted(LLMS))}")
    silence_libraries()
    found = asyncio.run(offers([provider] if provider else sorted(LLMS), LLMOptions()))
    for offer in found:
        # Asked for by name it is shown all the same.
        for name in offer.models if provider or not offer.trouble else ():
            typer.echo(plain(name))
    for offer in found:
        if offer.trouble:
            typer.echo(plain(f"{offer.provider}: {offer.trouble}"), err=True)
    if silent := [offer.provider for offer in found if not offer.models and not offer.trouble]:
        typer.echo(f"no list, so that any model may be named: {', '.join(silent)}", err=True)
    if provider is not None and found[0].trouble is not None:
        raise typer.Exit(1)
