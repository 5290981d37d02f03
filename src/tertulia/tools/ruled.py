"""Tools under other rules than their own."""

from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from tertulia.definitions import ToolSpec
from tertulia.tools.base import Tool, ToolContext, ToolRules


class Ruled(Tool):
    """A tool that is treated otherwise than it says itself."""

    def __init__(self, inner: Tool, rules: ToolRules) -> None:
        self._inner, self._rules = inner, rules

    @property
    @override
    def spec(self) -> ToolSpec:
        return self._inner.spec

    @property
    @override
    def rules(self) -> ToolRules:
        return self._rules

    @override
    async def use(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        return await self._inner.use(arguments, context)
