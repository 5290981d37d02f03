"""Response shapes as types of Python: what the model is asked for, and what is made of its answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import GenericAlias, UnionType
from typing import Any, TypeAlias

import orjson
from pydantic import PydanticUserError, TypeAdapter, ValidationError

from tertulia.errors import InvalidShape, ShapeMismatch
from tertulia.shapes import check_shape, shape_text

ResponseShape: TypeAlias = str | dict[str, Any] | type[Any] | UnionType | GenericAlias | None
"""A JSON Schema (an object, or its text), the loose form of one, or a type: a pydantic model, a
dataclass, a TypedDict, or anything else that pydantic knows."""


@dataclass(frozen=True, slots=True)
class TypedShape:
    """A response shape as it was given to an agent of a program."""

    text: str
    """As a definition keeps it; empty for plain text."""
    adapter: TypeAdapter[Any] | None = None

    @classmethod
    def of(cls, given: ResponseShape) -> "TypedShape":
        """Return a checked shape; raises :class:`~tertulia.errors.InvalidShape` for what is none."""
        if given is None or given == "":
            return cls("")
        if isinstance(given, str | dict):
            if not given:
                raise InvalidShape("an empty response shape says nothing; leave it out for plain text")
            check_shape(given)
            return cls(shape_text(given))
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(given)  # type: ignore[arg-type]  # a type in any form
            schema = adapter.json_schema()
        except PydanticUserError as error:
            raise InvalidShape(f"{given!r} is no type that answers can have: {error.message}") from error
        if not schema:
            raise InvalidShape(f"{given!r} says nothing about answers; leave it out for plain text")
        check_shape(schema)
        return cls(shape_text(schema), adapter)

    @property
    def check(self) -> Callable[[str], None] | None:
        """Raises ``ShapeMismatch`` for what the type refuses and no schema does; ``None`` without a type."""
        return None if self.adapter is None else self._check

    def _check(self, text: str) -> None:
        self.value(text)

    def value(self, text: str) -> object:
        """Return what an answer of this shape stands for; ``None`` for plain text.

        Raises :class:`~tertulia.errors.ShapeMismatch` if the type wants more than its schema can say.
        """
        if not self.text:
            return None
        if self.adapter is None:
            return orjson.loads(text)
        try:
            return self.adapter.validate_json(text)
        except ValidationError as error:
            told = "; ".join(map(_told, error.errors(include_url=False, include_context=False)))
            raise ShapeMismatch(f"The answer is not as it should be: {told}. Mend that.") from error


def _told(problem: Mapping[str, Any]) -> str:
    where = ".".join(map(str, problem["loc"]))
    return f"{where}: {problem['msg']}" if where else problem["msg"]
