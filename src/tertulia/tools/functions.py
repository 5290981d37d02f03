"""Functions as tools."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial, update_wrapper
from typing import Any, Final, Generic, Literal, ParamSpec, TypeVar, cast, overload

from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict, Unpack, override

from tertulia.definitions import ToolSpec
from tertulia.errors import InvalidInput, ToolError
from tertulia.tools.arguments import check_spec
from tertulia.tools.base import Tool, ToolContext, ToolRules
from tertulia.tools.failing import tool_error
from tertulia.tools.signatures import signature_of
from tertulia.tools.threads import in_own_thread

P = ParamSpec("P")
R = TypeVar("R")

_JSON: Final = TypeAdapter[Any](Any, config=ConfigDict(ser_json_inf_nan="null", ser_json_bytes="base64"))


class Rules(TypedDict, total=False):
    """How a tool is to be treated; what is left out is as in :class:`ToolRules`."""

    is_idempotent: bool
    on_unknown: Literal["ask", "retry", "fail"]
    needs_approval: bool
    within_seconds: float
    max_output: int


class FunctionTool(Tool, Generic[P, R]):
    """A function that an agent can use, and a program can call as before.

    What the model is told comes from the function: its name, its docstring (of any usual style, with
    what it says of each parameter), and its annotations. A parameter annotated :class:`ToolContext` is
    filled in and not shown. A function that is not ``async`` is called in a thread of its own.

    A text that it returns is shown as it is, anything else as JSON. A :class:`ToolError` that it
    raises is told to the model; of other errors only the type is, since their texts may hold secrets.
    """

    def __init__(self, function: Callable[P, R], *, name: str | None = None, **rules: Unpack[Rules]) -> None:
        """Raises :class:`InvalidInput` if no model could call the function, saying what to mend."""
        update_wrapper(self, function)
        called = name or str(getattr(function, "__name__", ""))
        self._function = function
        self._signature = found = signature_of(function, name=called)
        self._rules = _checked(ToolRules(**rules), name=called)
        self._spec = check_spec(
            ToolSpec(name=called, description=found.description, parameters=found.parameters)
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function."""
        return self._function(*args, **kwargs)

    @property
    @override
    def spec(self) -> ToolSpec:
        return self._spec

    @property
    @override
    def rules(self) -> ToolRules:
        return self._rules

    @override
    async def use(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        given = self._signature.converted(arguments)
        if self._signature.context:
            given[self._signature.context] = context
        try:
            result = await self._called(given)
        except (Exception, SystemExit) as error:
            raise tool_error(error, tool=self._spec.name) from error
        return _as_text(result)

    async def _called(self, given: dict[str, Any]) -> object:
        call: Callable[[], Any] = partial(self._function, **given)
        if inspect.iscoroutinefunction(self._function):
            return await call()
        result = await in_own_thread(call)
        return await result if inspect.isawaitable(result) else result


@overload
def tool(function: Callable[P, R], /) -> FunctionTool[P, R]: ...
@overload
def tool(
    *, name: str | None = None, **rules: Unpack[Rules]
) -> Callable[[Callable[P, R]], FunctionTool[P, R]]: ...
def tool(
    function: Callable[P, R] | None = None, /, *, name: str | None = None, **rules: Unpack[Rules]
) -> FunctionTool[P, R] | Callable[[Callable[P, R]], FunctionTool[P, R]]:
    """Make a function a tool: ``@tool``, or ``@tool(is_idempotent=True)`` with its rules.

    The rules are those of :class:`ToolRules`; ``name`` is the function's if it is not given. Raises
    :class:`InvalidInput` if no model could call the function, saying what to mend.
    """
    if function is not None:
        return FunctionTool(function, name=name, **rules)

    def decorate(function: Callable[P, R]) -> FunctionTool[P, R]:
        return FunctionTool(function, name=name, **rules)

    return decorate


def as_tool(given: Tool | Callable[..., Any]) -> Tool:
    """Return a tool as it is, and a function as the tool that :func:`tool` makes of it."""
    if Tool in type(given).__mro__:
        return cast("Tool", given)
    return FunctionTool(cast("Callable[..., Any]", given))


def _checked(rules: ToolRules, *, name: str) -> ToolRules:
    if rules.within_seconds <= 0 or rules.max_output < 1:
        raise InvalidInput(f"the tool {name!r} needs time and room: within_seconds and max_output above 0")
    if rules.on_unknown not in {"ask", "retry", "fail"}:
        raise InvalidInput(f"on_unknown of the tool {name!r} must be 'ask', 'retry' or 'fail'")
    return rules


def _as_text(result: object) -> str:
    if isinstance(result, str):
        return result
    try:
        return _JSON.dump_json(result).decode()
    except (ValueError, RecursionError) as error:
        kind = type(result).__name__
        raise ToolError(f"the tool returned something that JSON cannot say ({kind})") from error
