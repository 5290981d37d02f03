"""Tools: the ports, functions as tools, and servers of tools."""

from typing import TYPE_CHECKING

from tertulia.registry import lazily
from tertulia.tools.base import Tool, ToolContext, ToolRules, ToolSource

if TYPE_CHECKING:
    from tertulia.tools.functions import FunctionTool, tool
    from tertulia.tools.toolbox import Toolbox
    from tertulia.tools.using import use

__all__ = ["FunctionTool", "Tool", "ToolContext", "ToolRules", "ToolSource", "Toolbox", "tool", "use"]

__getattr__ = lazily(
    __name__,
    {
        "FunctionTool": "tertulia.tools.functions:FunctionTool",
        "Toolbox": "tertulia.tools.toolbox:Toolbox",
        "tool": "tertulia.tools.functions:tool",
        "use": "tertulia.tools.using:use",
    },
)
