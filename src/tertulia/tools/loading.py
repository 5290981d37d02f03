"""Toolboxes from settings: modules of functions, and servers of tools named in a file."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tertulia.errors import InvalidInput
from tertulia.registry import load
from tertulia.tools.base import Tool
from tertulia.tools.mcp_file import read_mcp_file
from tertulia.tools.sources import open_configured
from tertulia.tools.toolbox import Toolbox

_SETTING: Final = "TERTULIA_TOOLS"
_MEND: Final = "put @tool (from tertulia import tool) before the function"


def open_toolbox(tools: str = "", mcp_file: Path | None = None) -> Toolbox:
    """Return the toolbox of an installation; no server is connected to yet.

    ``tools`` names modules, all tools in which are taken, or ``module:name`` for one of them, parted by
    commas; they are also looked for in the directory where the program was started. ``mcp_file`` is what
    :func:`read_mcp_file` reads. Raises :class:`InvalidInput`, saying what to mend, and
    :class:`MissingExtra` if there are servers and no library to speak to them.
    """
    named = [name.strip() for name in tools.split(",") if name.strip()]
    found = [tool for name in named for tool in _tools_at(name)]
    servers = read_mcp_file(mcp_file) if mcp_file else []
    # One tool may be named twice: by its module, and by another that imports it.
    functions = {id(tool): tool for tool in found}.values()
    return Toolbox(functions, {server.label: open_configured(server) for server in servers})


def _tools_at(name: str) -> list[Tool]:
    module, _, attribute = name.partition(":")
    there = names_in(module, of=_SETTING)
    if not attribute:
        found = [value for key, value in there.items() if _is_tool(value) and not key.startswith("_")]
        if not found:
            raise InvalidInput(f"{_SETTING}: there are no tools in the module {module!r}; {_MEND}")
        return found
    if attribute not in there:
        raise InvalidInput(f"{_SETTING}: there is no {attribute!r} in the module {module!r}")
    if not _is_tool(there[attribute]):
        raise InvalidInput(f"{_SETTING}: {name!r} is no tool; {_MEND}")
    return [there[attribute]]


def _is_tool(value: object) -> bool:
    """Whether this is a tool, and not only a class of them."""
    return Tool in type(value).__mro__


def names_in(module: str, *, of: str) -> Mapping[str, Any]:
    """Import a module, and return what it holds by name.

    It is also looked for in the directory where the program was started. Raises :class:`InvalidInput`
    in one line that begins with ``of``, what has named the module.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # Last, so that nothing there hides what is installed.
    try:
        found: Mapping[str, Any] = load(f"{module}:__dict__")
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            raise InvalidInput(
                f"{of}: there is no module {module!r}, neither installed nor in {here}"
            ) from error
        raise InvalidInput(f"{of}: the module {module!r} needs {error.name!r}; install it") from error
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        raise InvalidInput(f"{of}: the module {module!r} cannot be imported ({told})") from error
    return found
