"""A tool whose use somebody has to approve, for tests of the terminal."""

from tertulia.tools.functions import tool

planted: list[str] = []


@tool(needs_approval=True)
def plant(what: str) -> str:
    """Plant something."""
    planted.append(what)
    return f"{what} is planted"
