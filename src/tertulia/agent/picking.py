"""Picking the tools of an agent before each of its turns."""

import asyncio
from collections.abc import Sequence
from typing import Final

from tertulia.definitions import ToolChoice
from tertulia.errors import ToolUnavailable
from tertulia.tools.base import Tool
from tertulia.tools.toolbox import Toolbox

_SECONDS: Final = 20.0
"""How long servers of tools may take to say what they have: less than a run may be silent."""


async def picked(
    toolbox: Toolbox, choices: Sequence[ToolChoice], *, tenant: int, is_resumed: bool
) -> dict[str, Tool]:
    """Return the tools for a turn; of a run that goes on those that are there, whatever else was chosen.

    Raises as :meth:`Toolbox.pick` does: what was begun is to be dealt with, whatever tools are there now.
    """
    if not choices:
        return {}
    if is_resumed:
        return await toolbox.pick_what_is_there(choices, tenant=tenant)
    try:
        async with asyncio.timeout(_SECONDS):
            return await toolbox.pick(choices, tenant=tenant)
    except TimeoutError:
        raise ToolUnavailable("a server of tools takes too long to say what it has") from None
