"""The tools of a request in a wire's form, encoded once for as long as they stay the same."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

import orjson
from typing_extensions import override

from tertulia.definitions import ToolSpec

Form: TypeAlias = Callable[[ToolSpec], dict[str, Any]]
"""Gives one tool as a wire writes it: a function of a module, always the same one."""


def encode_tools(tools: tuple[ToolSpec, ...], form: Form) -> bytes:
    """Return ``,"tools":[…]``, to stand behind other members of an object; nothing without tools."""
    return _encoded(_Same(tools), form) if tools else b""


def parameters(spec: ToolSpec) -> dict[str, Any]:
    """Return what both of OpenAI's wires say of a tool."""
    described = {"description": spec.description} if spec.description else {}
    return {"name": spec.name, **described, "parameters": spec.parameters}


class _Same:
    """Tools that equal others only if they are the very same: schemas have no hash, and are long."""

    __slots__ = ("tools",)

    def __init__(self, tools: tuple[ToolSpec, ...]) -> None:
        self.tools = tools

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Same) or len(self.tools) != len(other.tools):
            return False
        return all(mine is theirs for mine, theirs in zip(self.tools, other.tools, strict=True))

    @override
    def __hash__(self) -> int:
        return hash(tuple(map(id, self.tools)))


@lru_cache(maxsize=256)
def _encoded(same: _Same, form: Form) -> bytes:
    # The cache keeps the tools, so that no others can come to have their identity.
    return b',"tools":' + orjson.dumps([form(spec) for spec in same.tools], default=dict)
