"""What a request may ask for beyond its message, on every surface: in its body or in headers."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field, WithJsonSchema
from starlette.datastructures import Headers

from tertulia.conversations import Multitask
from tertulia.definitions import ModelSettings
from tertulia.errors import InvalidInput
from tertulia.runtime import MAX_KEY, RunOptions
from tertulia.server.bodies import Body

_MAX_DIGITS: Final = 18
"""So many fit into 64 bits."""
_STRATEGIES: Final[Mapping[str, Multitask]] = {"enqueue": "enqueue", "reject": "reject"}

Strategy: TypeAlias = Literal["enqueue", "reject"]
Settings: TypeAlias = Annotated[dict[str, object], WithJsonSchema(ModelSettings.json_schema())]
"""A model's settings; :meth:`ModelSettings.parse` checks them."""


class Options(Body):
    """The fields that go with a message."""

    multitask_strategy: Strategy | None = Field(
        default=None,
        description="When the conversation is busy: wait in line, or be refused with 409. "
        "Also as the header `X-Multitask-Strategy`; default: enqueue.",
    )
    expected_head: int | None = Field(
        default=None,
        ge=0,
        description="Refuse with 412 unless this is the number of the newest message. "
        "Also as the header `X-Expected-Head`.",
    )
    settings: Settings | None = Field(
        default=None, description="Settings of the model, laid over those of the agent for this answer."
    )


PARAMETERS: Final = [
    {"name": name, "in": "header", "required": False, "description": text, "schema": schema}
    for name, text, schema in (
        (
            "Idempotency-Key",
            "The same message with the same key again has one effect and one answer; when no answer came "
            "of it, the model is asked again about the message that is kept.",
            {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
        ),
        ("X-Multitask-Strategy", "As `multitask_strategy`.", {"type": "string", "enum": [*_STRATEGIES]}),
        ("X-Expected-Head", "As `expected_head`.", {"type": "integer", "minimum": 0}),
    )
]
"""The headers that do the same, for the OpenAPI description."""


def options_of(body: Options, headers: Headers) -> RunOptions:
    """Return the options of a request; where body and header differ, the body counts."""
    return RunOptions(
        settings=ModelSettings.parse(body.settings),
        multitask=body.multitask_strategy or _strategy(headers.get("x-multitask-strategy")),
        expected_head=body.expected_head if body.expected_head is not None else _head(headers),
        idempotency_key=headers.get("idempotency-key"),
    )


def whole_number(text: str, *, otherwise: str) -> int:
    """Return a whole number from 0 that stands in a header or a query; otherwise that is complained."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS):
        raise InvalidInput(otherwise)
    return int(text)


def _strategy(name: str | None) -> Multitask:
    if name is None:
        return "enqueue"
    try:
        return _STRATEGIES[name.strip().lower()]
    except KeyError:
        raise InvalidInput(f"X-Multitask-Strategy must be one of: {', '.join(_STRATEGIES)}") from None


def _head(headers: Headers) -> int | None:
    given = headers.get("x-expected-head")
    return None if given is None else whole_number(given, otherwise="X-Expected-Head must be a whole number")
