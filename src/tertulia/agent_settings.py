"""How an agent's models are asked, and how far one of its runs may go."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Self

from tertulia.kinds import Choice, Kind, Line, Lines, Number, Switch, checked_settings, settings_schema


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """How a model is asked; ``None`` leaves the choice to its provider.

    Names, ranges and meaning are those of OpenAI's chat completions, where it has them.
    """

    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop: tuple[str, ...] | None = None
    seed: int | None = None
    reasoning_effort: str | None = None
    """How much a model that thinks before it speaks is to think."""
    timeout: float | None = None
    """Seconds that the whole call may take."""
    store: bool | None = None
    """Whether the provider is to keep the answer, where it can; otherwise it is asked to only for
    ``background``, and where an answer goes on from what it keeps."""
    background: bool | None = None
    """Whether the provider is to work on by itself when we go away, where it can, so that a crash
    costs no second call; it then keeps the answer for a while."""
    max_turns: int | None = None
    """Answers after which the conversation has come to its end."""
    check_end: bool | None = None
    """Whether a model is asked after each answer if the conversation has come to its end."""
    farewell: str | None = None
    """What is shown, and never kept as the agent's words, when a conversation has come to its end."""

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return checked settings; raises :class:`InvalidInput` for unknown names and wrong values."""
        return cls(**checked_settings(_KINDS, raw, what="settings"))

    @classmethod
    def of_kept(cls, kept: Mapping[str, Any]) -> Self:
        """Return the settings that :meth:`given` told: checked when they came, by the rules of that day."""
        known = {f.name for f in fields(cls)}
        found = {name: value for name, value in kept.items() if name in known}
        if found.get("stop") is not None:
            found["stop"] = tuple(found["stop"])
        return cls(**found)

    def under(self, override: "ModelSettings") -> "ModelSettings":
        """Return these settings with those of ``override`` laid over them."""
        return self if override == _UNSET else ModelSettings(**(self.given() | override.given()))

    def given(self) -> dict[str, Any]:
        """Return what is set, by name."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    def sampling(self) -> dict[str, Any]:
        """Return what is set of that which every provider is told, by name."""
        return {name: value for name, value in self.given().items() if name not in _OURS}

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema of what :meth:`parse` takes."""
        return settings_schema(_KINDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """What one run may use up; ``None`` is no limit.

    They are looked at before each step, so that at most one step goes beyond them.
    """

    max_steps: int | None = None
    """Calls of models and tools."""
    max_tokens: int | None = None
    """Tokens in and out."""
    max_seconds: float | None = None
    """Seconds that its steps take, without the time that it waits for somebody's decision."""
    max_cost: float | None = None
    """US dollars, by the price table; calls whose price is not known count nothing."""

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return checked limits; raises :class:`InvalidInput` for unknown names and wrong values."""
        return cls(**checked_settings(_LIMITS, raw, what="limits"))

    @classmethod
    def of_kept(cls, kept: Mapping[str, Any]) -> Self:
        """Return the limits that :meth:`given` told."""
        known = {f.name for f in fields(cls)}
        return cls(**{name: value for name, value in kept.items() if name in known})

    def within(self, other: "RunLimits") -> "RunLimits":
        """Return the tighter of both, limit by limit."""
        if other == _UNLIMITED:
            return self
        mine, others = self.given(), other.given()
        tighter = {name: min(mine.get(name, value), value) for name, value in others.items()}
        return RunLimits(**(mine | tighter))

    def given(self) -> dict[str, Any]:
        """Return what is set, by name."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema of what :meth:`parse` takes."""
        return settings_schema(_LIMITS)


_UNSET: Final = ModelSettings()
_UNLIMITED: Final = RunLimits()
_OURS: Final = frozenset({"timeout", "store", "background", "max_turns", "check_end", "farewell"})
_KINDS: Final[Mapping[str, Kind]] = {
    "temperature": Number(low=0, high=2),
    "max_tokens": Number(low=1, high=10_000_000, is_whole=True),
    "top_p": Number(low=0, high=1),
    "frequency_penalty": Number(low=-2, high=2),
    "presence_penalty": Number(low=-2, high=2),
    "stop": Lines(most=4, longest=500, description="What ends the answer when it is said."),
    "seed": Number(low=-(2**63), high=2**63 - 1, is_whole=True),
    "reasoning_effort": Choice(words=("none", "minimal", "low", "medium", "high", "xhigh")),
    "timeout": Number(low=0.001, high=86_400, description="Seconds that the whole answer may take."),
    "store": Switch(description="Whether the provider is to keep the answer, where it can."),
    "background": Switch(description="Whether the provider is to work on by itself, where it can."),
    "max_turns": Number(
        low=1, high=1_000_000, is_whole=True, description="Answers after which the conversation ends."
    ),
    "check_end": Switch(description="Whether a model is asked after each answer if this was the end."),
    "farewell": Line(longest=1000, description="What is shown when the conversation has come to its end."),
}
_LIMITS: Final[Mapping[str, Kind]] = {
    "max_steps": Number(low=1, high=10_000, is_whole=True, description="Calls of models and tools."),
    "max_tokens": Number(low=1, high=10**12, is_whole=True, description="Tokens in and out."),
    "max_seconds": Number(low=0.001, high=86_400, description="Seconds that its steps take."),
    "max_cost": Number(low=0, high=1_000_000, description="US dollars, by the price table."),
}
