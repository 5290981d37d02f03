"""What an agent's constructor was given, made sense of."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias, TypeVar

from tertulia.definitions import RemoteTools, ToolChoice
from tertulia.errors import InvalidInput
from tertulia.llms.base import LLM
from tertulia.llms.models import ModelNames
from tertulia.memory.context.asking import check_names
from tertulia.memory.context.base import ContextProvider
from tertulia.tools.base import Tool, ToolSource
from tertulia.tools.functions import as_tool
from tertulia.tools.toolbox import SERVER, Toolbox

T = TypeVar("T")

AgentTool: TypeAlias = Tool | ToolSource | RemoteTools | Callable[..., Any]
"""A tool, a function that becomes one, a server of tools, or one elsewhere by its address."""


def sorted_tools(given: Iterable[AgentTool]) -> tuple[Toolbox, tuple[ToolChoice, ...]]:
    """Return a toolbox of everything that was given, and the choice of all of it.

    Raises :class:`InvalidInput` for two tools of one name, and for what is no tool.
    """
    functions: list[Tool] = []
    servers: dict[str, ToolSource] = {}
    choices: list[ToolChoice] = []
    for each in given:
        if isinstance(each, RemoteTools):
            choices.append(each)
        elif ToolSource in type(each).__mro__:
            label = f"server{len(servers) + 1}"
            servers[label] = each  # type: ignore[assignment]  # its base says so
            choices.append(f"{SERVER}{label}")
        elif callable(each) or Tool in type(each).__mro__:
            functions.append(as_tool(each))  # type: ignore[arg-type]  # it is no server of tools, see above
            choices.append(functions[-1].spec.name)
        else:
            raise InvalidInput(
                f"{named(each)} is no tool; give functions, tools made by @tool, or servers of tools"
            )
    return Toolbox(functions, servers), tuple(choices)


def listed(given: T | Sequence[T] | None, *, of: str) -> list[T]:
    """Return one thing or several as a list; raises :class:`InvalidInput` for a text."""
    if given is None:
        return []
    if isinstance(given, str):
        raise InvalidInput(f"{of} are objects, not texts; see the documentation of Agent")
    several = list(given) if isinstance(given, Sequence) else [given]
    for each in several:
        if isinstance(each, type):
            raise InvalidInput(f"{of}: {each.__name__} is a class; make one of it: {each.__name__}(…)")
    return several


def checked_context_providers(given: Sequence[ContextProvider]) -> tuple[ContextProvider, ...]:
    """Return context providers that go together; raises :class:`InvalidInput` otherwise."""
    check_names(given)
    return tuple(given)


def names_of(llm: str | Sequence[str] | LLM | None) -> tuple[ModelNames, LLM | None]:
    """Return what names a model, and the model itself if it was given."""
    if llm is None:
        return None, None
    if isinstance(llm, str):
        return llm, None
    if isinstance(llm, Sequence):
        if not llm or not all(isinstance(name, str) for name in llm):
            raise InvalidInput("several models are named by a list of texts, provider:model each")
        return tuple(llm), None
    if LLM not in type(llm).__mro__:
        raise InvalidInput(f"{named(llm)} is no model: give provider:model, or a model itself")
    return llm.name, llm


def named(thing: object) -> str:
    """Return what to call a thing that should have been another."""
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    return f"an object of type {type(thing).__name__}"
