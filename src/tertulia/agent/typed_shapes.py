"""Response shapes as types of Python: what the model is asked for, and what is made of its answer."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson
from pydantic import PydanticUserError, TypeAdapter, ValidationError

from tertulia.errors import InvalidShape, ShapeMismatch
from tertulia.shapes import check_shape, shape_text

ResponseShape: TypeAlias = str | dict[str, Any] | type[Any] | None
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
        if given is None:
            return cls("")
        if isinstance(given, str | dict):
            check_shape(given)
            return cls(shape_text(given))
        try:
            adapter = TypeAdapter[Any](given)
            schema = adapter.json_schema()
        except PydanticUserError as error:
            raise InvalidShape(f"{given!r} is no type that answers can have: {error.message}") from error
        check_shape(schema)
        return cls(shape_text(schema), adapter)

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
            told = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise ShapeMismatch(f"the answer is no {self.adapter!r}: {told}") from error
