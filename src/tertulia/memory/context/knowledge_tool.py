"""The tool with which a model looks something up in documents itself."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from typing_extensions import override

from tertulia.definitions import ToolSpec
from tertulia.tools.base import Tool, ToolContext, ToolRules

Search: TypeAlias = Callable[[str], Awaitable[str]]
"""Returns the passages that fit a question, quoted; an empty text if none does."""

_NOTHING: Final = "Nothing in these documents fits. Other words may find more."
_QUERY: Final = {
    "type": "string",
    "minLength": 1,
    "maxLength": 1000,
    "description": "What is sought, in the words that may stand in the documents.",
}


class SearchTool(Tool):
    """Looks up passages of one collection."""

    def __init__(self, collection: str, search: Search) -> None:
        self._search = search
        self._spec = ToolSpec(
            name=f"search_{collection}",
            description=f"Look something up in the documents of the collection {collection!r}. "
            "Returns passages with numbers and sources; name those that the answer rests on.",
            parameters={
                "type": "object",
                "properties": {"query": _QUERY},
                "required": ["query"],
                "additionalProperties": False,
            },
        )

    @property
    @override
    def spec(self) -> ToolSpec:
        return self._spec

    @property
    @override
    def rules(self) -> ToolRules:
        return ToolRules(is_idempotent=True)

    @override
    async def use(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        return await self._search(arguments["query"]) or _NOTHING
