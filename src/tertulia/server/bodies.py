"""How request bodies are read: as JSON, straight from the bytes into a checked model."""

import json
from asyncio import timeout
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.exceptions import HTTPException
from typing_extensions import override

_JSON: Final = "application/json"
_NOTHING: Final = object()
_BODY_SECONDS: Final = 60.0
"""How long a request may take to send its body."""


class Body(BaseModel):
    """A request body: nothing converted, nothing unknown."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def understood(self) -> dict[str, Any]:
        """Return what is asked for, as JSON: the same for all bodies that mean the same."""
        return self.model_dump(mode="json")


def shown_as(example: dict[str, Any], **more: object) -> ConfigDict:
    """Return what lets a body be described with an example that works as it is."""
    return ConfigDict(json_schema_extra={"example": example, **more})  # type: ignore[dict-item]  # JSON


class Direct(APIRoute):
    """A route whose endpoint is given the request and nothing else, without FastAPI's machinery between.

    That costs a third of a route's time, and what our endpoints read is checked by :func:`read`.
    """

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[object, object, Response]]:
        return cast("Callable[[Request], Coroutine[object, object, Response]]", self.endpoint)


Form = TypeVar("Form", bound=Body)


async def read(request: Request, form: type[Form]) -> Form:
    """Return the body of a request; what is wrong with it is raised as a validation error.

    Only JSON that says that it is JSON is read: no browser sends that to a foreign server unasked.
    """
    if not is_json(request):
        raise HTTPException(415, "Send JSON, and say so: Content-Type: application/json.")
    body = await whole_body(request)
    try:
        return form.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError(_shown(error, body)) from None


async def whole_body(request: Request) -> bytes:
    """Return the body of a request as it came; one that takes too long is answered with 408."""
    try:
        async with timeout(_BODY_SECONDS):
            return await request.body()
    except TimeoutError:
        raise HTTPException(
            408, f"The body did not come whole within {_BODY_SECONDS:g} seconds.", {"connection": "close"}
        ) from None


async def read_if_any(request: Request, form: type[Form]) -> Form:
    """Return the body of a request, which may also have none: then everything is as it is by default.

    Only for requests on what nobody can name without having been told its id.
    """
    headers = request.headers
    if "transfer-encoding" not in headers and headers.get("content-length", "0") == "0":
        return form()
    return await read(request, form)


_UNREADABLE: Final = {
    "hex escape": "the JSON holds half of a surrogate pair (\\ud800 to \\udfff): write the whole character",
    "unicode code point": "the body is not UTF-8",
    "line 1 column 0": "the body is empty: send a JSON object",
    "EOF": "the JSON ends too early",
    "recursion": "the JSON is nested too deeply",
}
"""By a part of what the parser says, which is told as it is when nothing here fits."""


def _shown(error: ValidationError, body: bytes) -> list[dict[str, Any]]:
    """Return what is wrong with a body and where, as its sender knows it."""
    found = error.errors(include_input=False, include_context=False, include_url=False)
    sent = None if found[0]["type"] == "json_invalid" else json.loads(body)
    return [
        {
            **raw,
            "loc": ("body", *_place(raw["loc"], raw["type"], sent)),
            "msg": _told(raw["type"], raw["msg"]),
        }
        for raw in found
    ]


def _place(loc: Sequence[str | int], kind: str, sent: object) -> Iterator[str | int]:
    """Yield the steps to a place in a body, without the names that the model's own alternatives have."""
    for at, part in enumerate(loc):
        inner = _inside(sent, part)
        if inner is not _NOTHING:
            yield part
            sent = inner
        elif kind == "missing" and at == len(loc) - 1:
            yield part


def _inside(sent: object, part: str | int) -> object:
    if isinstance(sent, dict):
        return sent.get(part, _NOTHING)
    if isinstance(sent, list) and isinstance(part, int) and part < len(sent):
        return sent[part]
    return _NOTHING


def _told(kind: str, said: str) -> str:
    if kind != "json_invalid":
        return said
    clear = next((words for part, words in _UNREADABLE.items() if part in said), None)
    what, _, place = said.rpartition(" at ")
    return f"{clear} (at {place})" if clear else f"this is no JSON: {what.partition(': ')[2]} (at {place})"


def described(form: type[Body], *, examples: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Return the OpenAPI description of a route that reads this body, with examples by what they are for."""
    content: dict[str, Any] = {"schema": form.model_json_schema()}
    if examples:
        content["examples"] = {name: {"summary": name, "value": value} for name, value in examples.items()}
    return {"requestBody": {"required": True, "content": {_JSON: content}}}


def described_if_any(form: type[Body]) -> dict[str, Any]:
    """Return the OpenAPI description of a route that reads this body if there is one."""
    return {"requestBody": described(form)["requestBody"] | {"required": False}}


def is_json(request: Request) -> bool:
    """Whether a request says that its body is JSON."""
    content_type = request.headers.get("content-type", "")
    if content_type == _JSON:
        return True
    kind = content_type.partition(";")[0].strip().lower()
    return kind == _JSON or (kind.startswith("application/") and kind.endswith("+json"))
