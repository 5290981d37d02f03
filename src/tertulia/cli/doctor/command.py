"""The command: looks, and writes what it has found for a person or a program."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Final

import orjson
import typer
from rich.console import Console
from rich.text import Text

from tertulia.cli.doctor.choices import origins_of
from tertulia.cli.doctor.examining import examine
from tertulia.cli.doctor.findings import Finding, Mark, broken
from tertulia.cli.offers import silence_libraries
from tertulia.cli.plain import plain
from tertulia.errors import InvalidInput
from tertulia.settings import load_settings

_SIGNS: Final[Mapping[Mark, tuple[str, str]]] = {
    "good": ("✓", "green"),
    "warning": ("!", "yellow"),
    "broken": ("✗", "bold red"),
}
_PLAIN_SIGNS: Final[Mapping[str, str]] = {"✓": "+", "✗": "x"}
_WIDTH: Final = 15


def doctor(*, asks: bool, as_json: bool) -> None:
    """Write what was found; exit with 1 if something is broken, with 0 if there is but something to mind."""
    silence_libraries()
    found = _found(asks=asks)
    is_broken = any(finding.mark == "broken" for finding in found)
    if as_json:
        told = {"ok": not is_broken, "next": next_step(found), "findings": [asdict(each) for each in found]}
        typer.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
    else:
        write(found, Console(highlight=False))
    if is_broken:
        raise typer.Exit(1)


def write(found: Sequence[Finding], console: Console) -> None:
    """Write a line for each finding, what to do where there is something to do, and what to type next."""
    for finding in found:
        sign, style = _SIGNS[finding.mark]
        line = Text.assemble(
            (_writable(sign, console), style),
            " ",
            (f"{finding.about:<{_WIDTH}}", "bold"),
            plain(finding.text),
        )
        console.print(line, soft_wrap=True)
        if finding.advice and finding.mark != "good":
            arrow = _writable("→", console)
            console.print(Text(f"  {'':<{_WIDTH}}{arrow} {plain(finding.advice)}", style), soft_wrap=True)
    if step := next_step(found):
        console.print(Text(f"\nNext: {plain(step)}", "bold"), soft_wrap=True)


def next_step(found: Sequence[Finding]) -> str:
    """Return what to do next: what mends the first thing that is broken, or else what one may do now."""
    for mark in ("broken", "good"):
        for finding in found:
            if finding.mark == mark and finding.advice:
                return finding.advice
    return ""


def _found(*, asks: bool) -> list[Finding]:
    before = dict(os.environ)
    try:
        settings = load_settings()
    except InvalidInput as error:
        return [broken("settings", str(error), "mend the setting, then look again: tertulia doctor")]
    origins = origins_of(before, os.environ)
    return asyncio.run(examine(settings, origins, asks=asks))


def _writable(sign: str, console: Console) -> str:
    try:
        sign.encode(console.encoding)
    except UnicodeEncodeError:
        return _PLAIN_SIGNS.get(sign, ">")
    return sign
