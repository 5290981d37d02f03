"""Which optional packages are installed."""

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires
from typing import Final

from tertulia.cli.doctor.findings import Case, Finding, good, warning

_PACKAGE: Final = "tertulia"
_FOR_DEVELOPERS: Final = frozenset({"testing"})
_DEMAND: Final = re.compile(r"([\w.-]+)\s*(?:\[([\w\s,.-]*)\])?[^;]*;\s*extra == ['\"]([\w.-]+)['\"]\s*$")
"""A package that an extra needs everywhere; one that it needs on some machines only does not count."""


async def check_extras(_case: Case) -> list[Finding]:
    """Say which extras are there and which are not."""
    try:
        extras = set(metadata(_PACKAGE).get_all("Provides-Extra") or ()) - _FOR_DEVELOPERS
    except PackageNotFoundError:
        return [warning("extras", "not known: this Tertulia was not installed as a package")]
    lacking = {extra for extra in extras if not is_installed(_PACKAGE, extra)}
    there = ", ".join(sorted(extras - lacking)) or "none"
    missing = f"; not installed: {', '.join(sorted(lacking))} (pip install tertulia[NAME])" if lacking else ""
    return [good("extras", f"installed: {there}{missing}")]


def is_installed(package: str, extra: str) -> bool:
    """Whether all that an extra of an installed package needs is there."""
    return all(_is_there(name, further) for name, further in _demands(package, extra))


def _is_there(package: str, extras: list[str]) -> bool:
    try:
        metadata(package)
    except PackageNotFoundError:
        return False
    return all(is_installed(package, extra) for extra in extras)


def _demands(package: str, extra: str) -> Iterator[tuple[str, list[str]]]:
    for demand in requires(package) or ():
        found = _DEMAND.match(demand)
        if found and found[3] == extra:
            yield found[1], [name.strip() for name in (found[2] or "").split(",") if name.strip()]
