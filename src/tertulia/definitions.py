"""Definitions: what is stored of an agent, version by version."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Self, TypeAlias

import orjson

from tertulia.agent_settings import ModelSettings, RunLimits
from tertulia.errors import InvalidInput
from tertulia.ids import AGENT, is_id
from tertulia.shapes import check_shape

MAX_NAME: Final = 200
MAX_URL: Final = 2000
"""Characters of the address of a server of tools at most."""
MAX_ALLOWED: Final = 128
"""Tools of one server that an agent can name at most."""
MAX_TOOL_NAME: Final = 128
"""Characters of the name of a tool of a server at most."""
RESERVED_NAMES: Final = frozenset({"local", "default", "none", "user", "system", "assistant", "tool"})
_VERSION: Final = 1
_REMOTE: Final = frozenset({"type", "server_label", "server_url", "allowed_tools", "require_approval"})
_APPROVALS: Final = ("always", "never")
_LABEL: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """What a model is told of a tool."""

    name: str
    """1 to 64 of the characters ``A-Z a-z 0-9 _ -``, as every provider takes them."""
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    """JSON Schema of its arguments, an object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTools:
    """A server of tools that an agent's author names by its address: MCP over streamable HTTP.

    It gets no secret; a server that wants a key is named in the installation's own configuration.
    """

    label: str
    """Put before the names of its tools; of the same characters."""
    url: str
    allowed: tuple[str, ...] | None = None
    """Names of the tools that the agent may use; ``None`` for all."""
    needs_approval: bool = True
    """Whether each use is to be approved by somebody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextChoice:
    """A context provider that an agent's author chose, and how it is to be set up."""

    name: str
    """In the registry of context providers: ``knowledge``, ``database``."""
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """JSON values, as the provider takes them: ``{"collection": "handbook"}``."""


ToolChoice: TypeAlias = str | RemoteTools
"""Tools of an agent: the name of one that the installation has, that of one of its servers of tools
(``mcp:LABEL``), or a server elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentDefinition:
    """What an agent is: everything that its author chose."""

    name: str
    context: str = ""
    first_message: str = ""
    """What the agent opens with; empty for nothing."""
    response_shape: str = ""
    """As it was given: a JSON Schema, the loose form, or empty for plain text."""
    instructions: str = ""
    model: str | tuple[str, ...] | None = None
    """``provider:model``, or several, of which each stands in for the one before it; ``None`` follows
    the installation's default."""
    settings: ModelSettings = field(default_factory=ModelSettings)
    tools: tuple[ToolChoice, ...] = ()
    context_providers: tuple[ContextChoice, ...] = ()
    limits: RunLimits = field(default_factory=RunLimits)
    program: str = ""
    """The performer that its runs need: part of a program, which has what cannot be stored. Empty if
    any process with the store can carry them out."""

    def encode(self) -> str:
        """Return the JSON text in which a definition is kept."""
        kept = {f.name: getattr(self, f.name) for f in fields(self)}
        kept |= {"settings": self.settings.given(), "limits": self.limits.given()}
        kept |= {"tools": [encode_tool(choice) for choice in self.tools]}
        kept |= {"context_providers": [encode_context(choice) for choice in self.context_providers]}
        return orjson.dumps({"v": _VERSION, **kept}).decode()

    @classmethod
    def decode(cls, kept: str) -> Self:
        """Return the definition that :meth:`encode` was called on."""
        found = orjson.loads(kept)
        found["settings"] = ModelSettings.of_kept(found.get("settings") or {})
        found["limits"] = RunLimits.of_kept(found.get("limits") or {})
        found["tools"] = tuple(decode_tool(kept) for kept in found.get("tools") or ())
        providers = found.get("context_providers") or ()
        found["context_providers"] = tuple(decode_context(kept) for kept in providers)
        if isinstance(found.get("model"), list):
            found["model"] = tuple(found["model"])
        known = {f.name for f in fields(cls)}
        return cls(**{name: value for name, value in found.items() if name in known})

    def checked(self) -> Self:
        """Return this definition if it can be used; raises :class:`InvalidInput` otherwise."""
        check_name(self.name)
        check_shape(self.response_shape)
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAgent:
    """A stored agent at one of its versions."""

    id: str
    tenant: int
    version: int
    """Counts from 1, one more for every change."""
    definition: AgentDefinition
    created_at: int
    """Microseconds since 1970, UTC, when the agent (not this version) was made."""


def encode_tool(choice: ToolChoice) -> str | dict[str, Any]:
    """Return a choice of tools as JSON: a name, or the object that OpenAI's APIs take."""
    if isinstance(choice, str):
        return choice
    given: dict[str, Any] = {"type": "mcp", "server_label": choice.label, "server_url": choice.url}
    if choice.allowed is not None:
        given["allowed_tools"] = list(choice.allowed)
    return given | {"require_approval": "always" if choice.needs_approval else "never"}


def decode_tool(kept: object) -> ToolChoice:
    """Return the choice that JSON stands for; raises :class:`InvalidInput` for what is none."""
    if isinstance(kept, str):
        return kept
    if not isinstance(kept, dict) or kept.get("type") != "mcp":
        raise InvalidInput('a tool is a name, or {"type": "mcp", "server_label": …, "server_url": …}')
    if strange := sorted(set(kept) - _REMOTE):
        raise InvalidInput(
            f"a server of tools has no {strange[0][:50]!r}; there are: {', '.join(sorted(_REMOTE))}"
        )
    label, url = kept.get("server_label"), kept.get("server_url")
    if not isinstance(label, str) or not _LABEL.fullmatch(label) or not isinstance(url, str):
        raise InvalidInput(
            "a server of tools needs a server_label (letters, digits, - and _) and a server_url"
        )
    if len(url) > MAX_URL or not url.isprintable():
        raise InvalidInput(f"a server_url has at most {MAX_URL} printable characters")
    approval = kept.get("require_approval", "always")
    if approval not in _APPROVALS:
        raise InvalidInput("require_approval must be 'always' or 'never'")
    allowed = _allowed(kept.get("allowed_tools"))
    return RemoteTools(label=label, url=url, allowed=allowed, needs_approval=approval == "always")


def encode_context(choice: ContextChoice) -> dict[str, Any]:
    """Return a chosen context provider as JSON: its name as ``type``, and its options beside it."""
    return {"type": choice.name, **choice.options}


def decode_context(kept: object) -> ContextChoice:
    """Return the context provider that JSON stands for; raises :class:`InvalidInput` for what is none."""
    if not isinstance(kept, dict) or not isinstance(kept.get("type"), str):
        raise InvalidInput('a context provider is an object with a "type", and its options beside it')
    options = {name: value for name, value in kept.items() if name != "type"}
    return ContextChoice(name=kept["type"], options=options)


def _allowed(names: object) -> tuple[str, ...] | None:
    """Return the names of the tools that may be used; ``None`` for all."""
    if names is None:
        return None
    if not isinstance(names, list) or len(names) > MAX_ALLOWED or not all(map(_is_tool_name, names)):
        raise InvalidInput(
            f"allowed_tools must be a list of at most {MAX_ALLOWED} names "
            f"of 1 to {MAX_TOOL_NAME} printable characters"
        )
    return tuple(names)


def _is_tool_name(name: object) -> bool:
    return isinstance(name, str) and 1 <= len(name) <= MAX_TOOL_NAME and name.isprintable()


def check_name(name: str) -> str:
    """Return a usable name of an agent; raises :class:`InvalidInput` otherwise.

    Any printable text without a colon (``provider:model`` must stay distinct) will do, up to
    200 characters, except a few reserved words.
    """
    if not name.strip() or name != name.strip():
        raise InvalidInput("a name must not be empty, nor begin or end with white space")
    if len(name) > MAX_NAME:
        raise InvalidInput(f"a name has at most {MAX_NAME} characters")
    if not name.isprintable() or ":" in name:
        raise InvalidInput("a name must be printable and hold no colon")
    if is_id(name, prefix=AGENT):
        raise InvalidInput("a name must not have the form of an agent's id")
    if name.lower() in RESERVED_NAMES:
        raise InvalidInput(f"the name {name!r} is reserved; choose another")
    return name
