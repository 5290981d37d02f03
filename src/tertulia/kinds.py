"""Kinds of settings: what may be given for one, and the JSON Schema that says so."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from typing_extensions import override

from tertulia.errors import InvalidInput

_ECHOED: Final = 50


class Kind(Protocol):
    """What values a setting takes."""

    def checked(self, name: str, value: object) -> Any:
        """Return the value as it is kept; raises :class:`~tertulia.errors.InvalidInput`."""
        ...

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of what :meth:`checked` takes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Kind):
    """A number between two others."""

    low: float
    high: float
    is_whole: bool = False
    description: str = ""

    @override
    def checked(self, name: str, value: object) -> Any:
        kind = int if self.is_whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kind):
            raise InvalidInput(
                f"setting {name!r} must be {'a whole number' if self.is_whole else 'a number'}"
            )
        if not self.low <= value <= self.high:
            raise InvalidInput(f"setting {name!r} must lie between {self.low} and {self.high}")
        return value

    @override
    def schema(self) -> dict[str, Any]:
        if self.high >= 2**63 - 1:
            return _described({"type": "integer", "format": "int64"}, self.description)
        found = {"type": "integer" if self.is_whole else "number", "minimum": self.low, "maximum": self.high}
        return _described(found, self.description)


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch(Kind):
    """Yes or no."""

    description: str = ""

    @override
    def checked(self, name: str, value: object) -> Any:
        if not isinstance(value, bool):
            raise InvalidInput(f"setting {name!r} must be true or false")
        return value

    @override
    def schema(self) -> dict[str, Any]:
        return _described({"type": "boolean"}, self.description)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Kind):
    """One of some words."""

    words: tuple[str, ...]
    description: str = ""

    @override
    def checked(self, name: str, value: object) -> Any:
        if value not in self.words:
            raise InvalidInput(f"setting {name!r} must be one of: {', '.join(self.words)}")
        return value

    @override
    def schema(self) -> dict[str, Any]:
        return _described({"type": "string", "enum": list(self.words)}, self.description)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line(Kind):
    """A text that is not long."""

    longest: int
    description: str = ""

    @override
    def checked(self, name: str, value: object) -> Any:
        if not isinstance(value, str) or not 1 <= len(value) <= self.longest:
            raise InvalidInput(f"setting {name!r} must be a text of 1 to {self.longest} characters")
        _check_characters(name, value)
        return value

    @override
    def schema(self) -> dict[str, Any]:
        return _described({"type": "string", "minLength": 1, "maxLength": self.longest}, self.description)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines(Kind):
    """One text or a few."""

    most: int
    longest: int
    description: str = ""

    @override
    def checked(self, name: str, value: object) -> Any:
        texts = (value,) if isinstance(value, str) else value
        if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
            raise InvalidInput(f"setting {name!r} must be a text or a list of texts")
        if not 1 <= len(texts) <= self.most:
            raise InvalidInput(f"setting {name!r} takes 1 to {self.most} texts")
        if not all(1 <= len(text) <= self.longest for text in texts):
            raise InvalidInput(f"setting {name!r} takes texts of 1 to {self.longest} characters")
        for text in texts:
            _check_characters(name, text)
        return tuple(texts)

    @override
    def schema(self) -> dict[str, Any]:
        one = {"type": "string", "minLength": 1, "maxLength": self.longest}
        some = {"type": "array", "items": one, "minItems": 1, "maxItems": self.most}
        return _described({"anyOf": [one, some]}, self.description)


def checked_settings(kinds: Mapping[str, Kind], raw: object, *, what: str) -> dict[str, Any]:
    """Return the checked values of an object of settings, those that are null left out.

    Raises :class:`~tertulia.errors.InvalidInput` for unknown names and wrong values.
    """
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise InvalidInput(f"{what} must be an object")
    for name in raw:
        if name not in kinds:
            shown = repr(name if len(name) <= _ECHOED else f"{name[:_ECHOED]}…")
            raise InvalidInput(f"unknown setting {shown} in {what}; there are: {', '.join(sorted(kinds))}")
    return {name: kinds[name].checked(name, value) for name, value in raw.items() if value is not None}


def settings_schema(kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """Return the JSON Schema of what :func:`checked_settings` takes."""
    described = {name: kind.schema() for name, kind in kinds.items()}
    return {"type": "object", "properties": described, "additionalProperties": False}


def _described(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return schema | {"description": description} if description else schema


def _check_characters(name: str, text: str) -> None:
    if any(mark == "\x00" or "\ud800" <= mark <= "\udfff" for mark in text):
        raise InvalidInput(f"setting {name!r} holds a NUL character or half of a surrogate pair; remove it")
