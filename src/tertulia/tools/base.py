"""The ports to tools: what an agent can do beside speaking, and where that comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from tertulia.definitions import ToolSpec

TOOL_SECONDS: Final = 60.0
"""How long a tool may take, if nothing else was said."""
MAX_OUTPUT: Final = 32_000
"""Characters of a result that are kept and shown, if nothing else was said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """What a tool may know of the run that uses it."""

    key: str
    """Names this use, and is equal when the same use is tried again after a crash: an idempotency key."""
    run_id: str
    conversation_id: str
    """Ours, not the one that its creator may have chosen: it is no one else's."""
    agent: str
    """The agent's name."""
    user_id: str | None = None
    tenant: int = 0
    """Whose conversation it is: two tenants may have users of one name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRules:
    """How a tool is to be treated."""

    is_idempotent: bool = False
    """Whether it may be used again with the same key without doing more: a use that a crash cut off
    is repeated then. Otherwise ``on_unknown`` says what happens to it."""
    on_unknown: Literal["ask", "retry", "fail"] = "ask"
    """What is done after a crash, if it is not known whether it took effect: somebody decides, it is
    used again, or the run fails."""
    needs_approval: bool = False
    """Whether each use waits until somebody has approved it."""
    within_seconds: float = TOOL_SECONDS
    max_output: int = MAX_OUTPUT
    """Characters of its result; the rest is cut off, and the model is told so."""
    max_checks: int | None = None
    """How many checks of a subschema its arguments may need; ``None`` for any number, where whoever
    made the schema is trusted not to make them last."""


class Tool(Protocol):
    """Something that an agent can use.

    Laws: ``spec`` and ``rules`` stay as they are. ``use`` is given arguments that meet the schema of
    ``spec``; it returns what the model is to be shown, as text, and raises only
    :class:`~tertulia.errors.ToolError` with a text that is safe to show to the model and its user, or
    :class:`~tertulia.errors.ToolUnavailable`; it keeps no limits of time and size, which are kept
    around it; being cancelled ends it. It may be called by many tasks at once.
    """

    @property
    def spec(self) -> ToolSpec:
        """What a model is told of it."""
        ...

    @property
    def rules(self) -> ToolRules:
        """How it is to be treated."""
        ...

    async def use(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """Do it, and return what came of it."""
        ...


class ToolSource(Protocol):
    """Where tools come from: a module of functions, a server that speaks MCP.

    Laws: ``tools`` may be asked for before every turn, so what takes long is kept for a while; it
    raises :class:`~tertulia.errors.ToolUnavailable` if the tools cannot be found out.
    """

    async def tools(self) -> Sequence[Tool]:
        """Return all tools that there are now; their names differ."""
        ...

    async def close(self) -> None:
        """Let go of what was opened; may be called twice. When it is asked again, it opens again."""
        ...
