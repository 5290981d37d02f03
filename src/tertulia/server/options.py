"""What a request may ask for beyond its message, on every surface: in its body or in headers."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any, Final, TypeAlias, get_args

from pydantic import Field, WithJsonSchema
from starlette.datastructures import Headers

from tertulia.agent_settings import ModelSettings, RunLimits
from tertulia.conversations import Multitask, Once
from tertulia.errors import InvalidInput
from tertulia.runtime import MAX_KEY, RunOptions, check_key
from tertulia.server.bodies import Body

_MAX_DIGITS: Final = 18
"""So many fit into 64 bits."""
_STRATEGIES: Final[Mapping[str, Multitask]] = {name: name for name in get_args(Multitask)}
Settings: TypeAlias = Annotated[dict[str, object], WithJsonSchema(ModelSettings.json_schema())]
"""A model's settings; :meth:`ModelSettings.parse` checks them."""
Limits: TypeAlias = Annotated[dict[str, object], WithJsonSchema(RunLimits.json_schema())]
"""What a run may use up; :meth:`RunLimits.parse` checks it."""


class Options(Body):
    """The fields that go with a message."""

    multitask_strategy: Multitask | None = Field(
        default=None,
        description="When the conversation is busy: wait in line; be refused with 409; stop what is being "
        "answered, and wait in line; or stop it, its messages withdrawn, and wait in line. "
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
    limits: Limits | None = Field(
        default=None,
        description="What this answer may use up, beside the agent's own limits: the tighter count.",
    )


def in_header(name: str, text: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI description of a header that a request may have."""
    return {"name": name, "in": "header", "required": False, "description": text, "schema": schema}


_KEY: Final = {"type": "string", "minLength": 1, "maxLength": MAX_KEY}

PARAMETERS: Final = [
    in_header(
        "Idempotency-Key",
        "The same message with the same key again has one effect and one answer; when no answer came "
        "of it, the model is asked again about the message that is kept.",
        _KEY,
    ),
    in_header("X-Multitask-Strategy", "As `multitask_strategy`.", {"type": "string", "enum": [*_STRATEGIES]}),
    in_header("X-Expected-Head", "As `expected_head`.", {"type": "integer", "minimum": 0}),
]
"""The headers that do the same, for the OpenAPI description."""

ONCE: Final = {
    "parameters": [
        in_header(
            "Idempotency-Key",
            "The same request with the same key again within 24 hours has one effect, and one answer.",
            _KEY,
        )
    ]
}
"""The header that makes a write happen once, for the OpenAPI description."""


def options_of(body: Options, headers: Headers) -> RunOptions:
    """Return the options of a request; where body and header differ, the body counts."""
    return RunOptions(
        settings=ModelSettings.parse(body.settings),
        limits=RunLimits.parse(body.limits),
        multitask=body.multitask_strategy or _strategy(headers.get("x-multitask-strategy")),
        expected_head=body.expected_head if body.expected_head is not None else _head(headers),
        idempotency_key=headers.get("idempotency-key"),
    )


def once_of(headers: Headers, asked: Body) -> Once | None:
    """Return what makes a request happen once, if it has an Idempotency-Key; raises ``InvalidInput``."""
    key = headers.get("idempotency-key")
    if key is None:
        return None
    # Of what was understood, so that spaces and the order of fields make no other request.
    understood = json.dumps(asked.understood(), sort_keys=True)
    return Once(key=check_key(key), request_hash=sha256(understood.encode()).digest())


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
