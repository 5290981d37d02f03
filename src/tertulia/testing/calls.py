"""Calls of tools as scripts of models have them."""

from collections.abc import Mapping
from typing import Any

import orjson

from tertulia import parts
from tertulia.ids import new_id


class ToolCall(parts.ToolCall):
    """A model's wish to use a tool, written shortly: ``ToolCall("add", {"a": 1, "b": 2})``."""

    def __init__(
        self,
        name: str,
        arguments: Mapping[str, Any] | str = "{}",
        *,
        id: str | None = None,
    ) -> None:
        """``arguments`` are an object, or JSON text; the id is made if there is none."""
        text = arguments if isinstance(arguments, str) else orjson.dumps(dict(arguments)).decode()
        super().__init__(id=id or new_id("call"), name=name, arguments=text)
