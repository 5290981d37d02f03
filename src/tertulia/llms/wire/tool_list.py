"""The tools of a request in a wire's form, encoded once for as long as they stay the same."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any, Final, TypeAlias

import orjson
from typing_extensions import override

from tertulia.definitions import ToolSpec

_MOST_BYTES: Final = 8 * 1024 * 1024
"""Of all lists that are kept."""
_FORBIDDEN: Final = b',"tool_choice":"none"'

Form: TypeAlias = Callable[[ToolSpec], dict[str, Any]]
"""Gives one tool as a wire writes it: a function of a module, always the same one."""


def encode_tools(tools: tuple[ToolSpec, ...], form: Form, *, may_call: bool = True) -> bytes:
    """Return ``,"tools":[…]``, to stand behind other members of an object; nothing without tools.

    Unless the model ``may_call`` them now, it is told so behind them, where both wires take it.
    """
    if not tools:
        return b""
    return _KNOWN.encoded(tools, form) + (b"" if may_call else _FORBIDDEN)


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


class _Known:
    """Encoded lists of tools, of which those asked for last are kept, as far as they fit."""

    def __init__(self, most: int) -> None:
        self._most, self._size = most, 0
        # The keys hold the tools, so that no others can come to have their identity.
        self._lists: OrderedDict[tuple[_Same, Form], bytes] = OrderedDict()
        self._one_at_a_time = Lock()

    def encoded(self, tools: tuple[ToolSpec, ...], form: Form) -> bytes:
        key = (_Same(tools), form)
        with self._one_at_a_time:
            if key in self._lists:
                self._lists.move_to_end(key)
                return self._lists[key]
        made = b',"tools":' + orjson.dumps([form(spec) for spec in tools], default=dict)
        with self._one_at_a_time:
            self._keep(key, made)
        return made

    def _keep(self, key: tuple[_Same, Form], made: bytes) -> None:
        self._size += len(made) - len(self._lists.pop(key, b""))
        self._lists[key] = made
        while self._size > self._most:
            self._size -= len(self._lists.popitem(last=False)[1])


_KNOWN: Final = _Known(_MOST_BYTES)
