"""Definitions: what is stored of an agent, version by version."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Self

import orjson

from tertulia.errors import InvalidInput
from tertulia.ids import AGENT, is_id
from tertulia.shapes import check_shape

MAX_NAME: Final = 200
RESERVED_NAMES: Final = frozenset({"local", "default", "none", "user", "system", "assistant", "tool"})
_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """How a model is asked; ``None`` leaves the choice to its provider.

    Names, ranges and meaning are those of OpenAI's chat completions.
    """

    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop: tuple[str, ...] | None = None
    seed: int | None = None
    timeout: float | None = None
    """Seconds that the whole call may take."""

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return checked settings; raises :class:`InvalidInput` for unknown names and wrong values."""
        if raw is None:
            return cls()
        if not isinstance(raw, dict):
            raise InvalidInput("settings must be an object")
        known = {f.name for f in fields(cls)}
        for name in raw:
            if name not in known:
                shown = repr(name if len(name) <= _ECHOED else f"{name[:_ECHOED]}…")
                raise InvalidInput(f"unknown setting {shown}; there are: {', '.join(sorted(known))}")
        return cls(**{name: _checked(name, value) for name, value in raw.items() if value is not None})

    @classmethod
    def of_kept(cls, kept: dict[str, Any]) -> Self:
        """Return the settings that :meth:`given` told: checked when they came, by the rules of that day."""
        known = {f.name for f in fields(cls)}
        found = {name: value for name, value in kept.items() if name in known}
        if found.get("stop") is not None:
            found["stop"] = tuple(found["stop"])
        return cls(**found)

    def under(self, override: "ModelSettings") -> "ModelSettings":
        """Return these settings with those of ``override`` laid over them."""
        return ModelSettings(**(self.given() | override.given()))

    def given(self) -> dict[str, Any]:
        """Return what is set, by name."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema of what :meth:`parse` takes."""
        stop = {"type": "string", "minLength": 1, "maxLength": _MAX_STOP}
        stops = {"type": "array", "items": stop, "minItems": 1, "maxItems": _MAX_STOPS}
        described: dict[str, Any] = {
            name: {"type": "integer" if name in _WHOLE else "number", "minimum": low, "maximum": high}
            for name, (low, high) in _RANGES.items()
        }
        described["seed"] = {"type": "integer", "format": "int64"}
        described["timeout"]["description"] = "Seconds that the whole answer may take."
        described["stop"] = {"anyOf": [stop, stops], "description": "What ends the answer when it is said."}
        return {
            "type": "object",
            "properties": {f.name: described[f.name] for f in fields(cls)},
            "additionalProperties": False,
        }


_RANGES: Final[dict[str, tuple[float, float]]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "timeout": (0.001, 86_400),
    "max_tokens": (1, 10_000_000),
    "seed": (-(2**63), 2**63 - 1),
}
_WHOLE: Final = frozenset({"max_tokens", "seed"})
_MAX_STOPS: Final = 4
_MAX_STOP: Final = 500
_ECHOED: Final = 50


def _checked(name: str, value: object) -> Any:
    if name == "stop":
        return _stops(value)
    low, high = _RANGES[name]
    kind = int if name in _WHOLE else (int, float)
    if isinstance(value, bool) or not isinstance(value, kind):
        raise InvalidInput(f"setting {name!r} must be {'a whole number' if name in _WHOLE else 'a number'}")
    if not low <= value <= high:
        raise InvalidInput(f"setting {name!r} must lie between {low} and {high}")
    return value


def _stops(value: object) -> tuple[str, ...]:
    stops = (value,) if isinstance(value, str) else value
    if not isinstance(stops, list | tuple) or not all(isinstance(stop, str) for stop in stops):
        raise InvalidInput("setting 'stop' must be a text or a list of texts")
    if not 1 <= len(stops) <= _MAX_STOPS:
        raise InvalidInput(f"setting 'stop' takes 1 to {_MAX_STOPS} texts")
    if not all(1 <= len(stop) <= _MAX_STOP for stop in stops):
        raise InvalidInput(f"setting 'stop' takes texts of 1 to {_MAX_STOP} characters")
    if any(mark == "\x00" or "\ud800" <= mark <= "\udfff" for stop in stops for mark in stop):
        raise InvalidInput("setting 'stop' holds a NUL character or half of a surrogate pair; remove it")
    return tuple(stops)


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
    model: str | None = None
    """``provider:model``; ``None`` follows the installation's default."""
    settings: ModelSettings = field(default_factory=ModelSettings)

    def encode(self) -> str:
        """Return the JSON text in which a definition is kept."""
        return orjson.dumps({"v": _VERSION, **asdict(self), "settings": self.settings.given()}).decode()

    @classmethod
    def decode(cls, kept: str) -> Self:
        """Return the definition that :meth:`encode` was called on."""
        found = orjson.loads(kept)
        settings = ModelSettings.of_kept(found.pop("settings", None) or {})
        known = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in found.items() if k in known}, settings=settings)

    def checked(self) -> Self:
        """Return this definition if it can be used; raises :class:`InvalidInput` otherwise."""
        check_name(self.name)
        check_shape(self.response_shape)
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A stored agent at one of its versions."""

    id: str
    tenant: int
    version: int
    """Counts from 1, one more for every change."""
    definition: AgentDefinition
    created_at: int
    """Microseconds since 1970, UTC, when the agent (not this version) was made."""


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
