"""What checks look at, and what they find."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

from tertulia.cli.doctor.stored import Stored
from tertulia.definitions import StoredAgent
from tertulia.errors import TertuliaError
from tertulia.llms.models import Models
from tertulia.settings import Settings

Mark: TypeAlias = Literal["good", "warning", "broken"]

HIDDEN: Final = "…"
_VARIABLE: Final = r"[A-Z][A-Z0-9]*_[A-Z0-9_]+"
_TYPED: Final = re.compile(
    rf"pip install [\w\[\]-]+|\bstart it with [\w -]+(?:, or set {_VARIABLE})?|\b(?:set|see to) {_VARIABLE}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a check has found."""

    about: str
    text: str
    mark: Mark = "good"
    advice: str = ""
    """What to type or to set; where all is well, what one may do next."""


def good(about: str, text: str, advice: str = "") -> Finding:
    """Return a finding that all is well."""
    return Finding(about=about, text=text, advice=advice)


def warning(about: str, text: str, advice: str = "") -> Finding:
    """Return a finding that something is not as one may expect; the rest works."""
    return Finding(about=about, text=text, mark="warning", advice=advice)


def broken(about: str, text: str, advice: str = "") -> Finding:
    """Return a finding that something does not work."""
    return Finding(about=about, text=text, mark="broken", advice=advice)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An installation as it is looked at."""

    settings: Settings
    origins: Mapping[str, str]
    """Where each setting that was chosen comes from, by its variable."""
    models: Models
    stored: "asyncio.Task[Stored]"
    asks: bool = False
    """Whether models are really asked something, which may cost money."""


Check: TypeAlias = Callable[[Case], Awaitable[list[Finding]]]


async def stored_agents(case: Case) -> tuple[StoredAgent, ...]:
    """Return the agents that are stored; none if the database cannot be read, of which its check tells."""
    try:
        return (await asyncio.shield(case.stored)).agents
    except TertuliaError:
        return ()


def without_secrets(url: str) -> str:
    """Return as much of a URL as can be shown to anyone: scheme, host and port; of a file its path."""
    scheme, colon, rest = url.partition("://")
    if not colon:
        return HIDDEN
    if not rest:
        return url
    if scheme.startswith("sqlite"):
        return url.partition("?")[0]
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    # A password that was not quoted may end what looks like a host.
    if not host or "@" in url.replace(parts.netloc, "", 1):
        return f"{scheme}:{HIDDEN}"
    return f"{scheme}://{host}:{port}" if port else f"{scheme}://{host}"


def advice_of(error: TertuliaError) -> str:
    """Return what an error says is to be typed or set; empty if it does not say."""
    found = _TYPED.search(str(error))
    return found[0] if found else ""
