"""Servers of tools: the plugs that speak to them, imported when the first is opened."""

from collections.abc import Callable
from typing import Final

from tertulia.definitions import RemoteTools
from tertulia.errors import MissingExtra
from tertulia.registry import load
from tertulia.tools.base import ToolSource
from tertulia.tools.mcp_file import ServerConfig

_PLUG: Final = "tertulia.tools.mcp_server"


def open_remote(choice: RemoteTools) -> ToolSource:
    """Return the tools of a server that an agent's author named by its address; only public ones are asked.

    Nothing is connected yet. Raises :class:`MissingExtra` where the library for it is not installed.
    """
    return _plug("open_remote")(choice)


def open_configured(config: ServerConfig) -> ToolSource:
    """Return the tools of a server that the installation names; raises as :func:`open_remote`."""
    return _plug("open_configured")(config)


def _plug(name: str) -> Callable[..., ToolSource]:
    try:
        found: Callable[..., ToolSource] = load(f"{_PLUG}:{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("tertulia"):
            raise
        raise MissingExtra("servers of tools need a library: pip install tertulia[mcp]") from error
    return found
