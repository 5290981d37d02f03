"""The one table from our errors to HTTP statuses, written as RFC 9457 problem documents."""

from collections.abc import Mapping
from http import HTTPStatus
from math import ceil
from typing import Any, Final, TypeVar

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from tertulia.conversations import Run
from tertulia.errors import (
    BudgetExceeded,
    Conflict,
    ContextTooLong,
    ConversationBusy,
    ConversationClosed,
    ConversationMovedOn,
    HeadMoved,
    IdempotencyMismatch,
    InvalidInput,
    MissingExtra,
    ModelBusy,
    ModelError,
    ModelTimeout,
    NeedsAttention,
    NotAuthorized,
    NotFound,
    NotServedHere,
    NotWaiting,
    OutcomeUnknown,
    ProviderError,
    RunCancelled,
    RunFailed,
    ShapeMismatch,
    Stopping,
    StoreBusy,
    StoreError,
    StoreUnavailable,
    TertuliaError,
    ToolError,
    VersionMoved,
)

Value = TypeVar("Value")

MEDIA_TYPE: Final = "application/problem+json"

STATUSES: Final[Mapping[type[TertuliaError], HTTPStatus]] = {
    InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    HeadMoved: HTTPStatus.PRECONDITION_FAILED,
    IdempotencyMismatch: HTTPStatus.UNPROCESSABLE_ENTITY,
    VersionMoved: HTTPStatus.CONFLICT,
    ModelError: HTTPStatus.BAD_GATEWAY,
    ModelBusy: HTTPStatus.SERVICE_UNAVAILABLE,
    ModelTimeout: HTTPStatus.GATEWAY_TIMEOUT,
    ContextTooLong: HTTPStatus.UNPROCESSABLE_ENTITY,
    ToolError: HTTPStatus.BAD_GATEWAY,
    ShapeMismatch: HTTPStatus.BAD_GATEWAY,
    BudgetExceeded: HTTPStatus.TOO_MANY_REQUESTS,
    StoreError: HTTPStatus.SERVICE_UNAVAILABLE,
    RunFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
    RunCancelled: HTTPStatus.CONFLICT,
    NeedsAttention: HTTPStatus.CONFLICT,
    MissingExtra: HTTPStatus.SERVICE_UNAVAILABLE,
    Stopping: HTTPStatus.SERVICE_UNAVAILABLE,
    NotServedHere: HTTPStatus.SERVICE_UNAVAILABLE,
    NotAuthorized: HTTPStatus.FORBIDDEN,
    ProviderError: HTTPStatus.BAD_GATEWAY,
    TertuliaError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""By family; the nearest one counts."""

TUTORIAL_STATUSES: Final = {**STATUSES, ModelBusy: HTTPStatus.BAD_GATEWAY}
"""The tutorial's surface knows one status for every failure of a model but slowness."""

_DOWN_SECONDS: Final = 5.0

_PAUSES: Final[Mapping[type[TertuliaError], float]] = {
    ModelBusy: 5,
    StoreBusy: 1,
    StoreUnavailable: 2,
    ConversationBusy: 1,
    Stopping: _DOWN_SECONDS,
}
"""Seconds to wait before asking again, where the error itself knows no better."""

_NEXT: Final[Mapping[type[TertuliaError], str]] = {
    ConversationClosed: "POST /v1/conversations/{id}/reopen opens it again.",
    ConversationMovedOn: "To say it once more, send it with a new Idempotency-Key.",
    IdempotencyMismatch: "Use a new key for a new request.",
    OutcomeUnknown: "The same request is safe to send again only with the Idempotency-Key that it had; "
    "else look first whether the message is there.",
    NotWaiting: "GET /v1/runs/{id} tells where it stands.",
}
"""What to do about an error that does not say it itself."""

_AFTERWARDS: Final[Mapping[type[TertuliaError], str]] = {
    NeedsAttention: ". Decide how it goes on: POST /v1/runs/{run_id}/decide.",
    RunCancelled: "; to have it answered after all, send it anew, with a new Idempotency-Key.",
    ContextTooLong: ", and asking again as it is would fail again.",
    ConversationClosed: ". POST /v1/conversations/{{id}}/reopen opens it again; "
    "then POST /v1/runs/{run_id}/retry asks again.",
    BudgetExceeded: ". Where the limits were raised, POST /v1/runs/{run_id}/retry asks again.",
}
"""The same for what has ended a run; what is not here can be asked again as it is."""

_NOT_BY_ITSELF: Final = {"x-should-retry": "false"}
_MAX_ERRORS: Final = 20
_MAX_PLACE: Final = 100


def install(api: FastAPI) -> None:
    """Have everything that a route raises answered with a problem document."""
    api.add_exception_handler(TertuliaError, _on_ours)
    api.add_exception_handler(RequestValidationError, _on_invalid)
    api.add_exception_handler(HTTPException, _on_router)


def problem(
    status: int,
    detail: str,
    *,
    kind: type[TertuliaError] | None = None,
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, object] | None = None,
) -> Response:
    """Return a problem document; without a kind of error the status alone says what is wrong."""
    body = _document(status, detail, kind, more)
    return Response(orjson.dumps(body), int(status), headers, MEDIA_TYPE)


def respond(
    error: TertuliaError,
    *,
    key: str | None = None,
    conversation: str | None = None,
    statuses: Mapping[type[TertuliaError], HTTPStatus] = STATUSES,
) -> Response:
    """Return the problem document of one of our errors, which says what to do next.

    ``conversation`` is the id of the one that it is about, where that is known.

    When a run was accepted, its message is kept, and the document tells the run's id. Asking again
    is safe only with the request's Idempotency-Key then, so clients are told not to do it by
    themselves (x-should-retry); where there was a key they are told when to, if that is known.
    """
    status = _nearest(error, statuses) or HTTPStatus.INTERNAL_SERVER_ERROR
    pause = error.retry_after if error.retry_after is not None else _nearest(error, _PAUSES)
    may_be_kept = error.run_id is not None or isinstance(error, OutcomeUnknown)
    headers = _pausing(pause if key or not may_be_kept else None)
    if may_be_kept or isinstance(error, BudgetExceeded):
        headers |= _NOT_BY_ITSELF
    detail = _detail(error, key, conversation)
    return problem(status, detail, kind=type(error), headers=headers, more=_run_of(error))


def told(error: TertuliaError, *, conversation: str | None = None) -> dict[str, object]:
    """Return the problem document of an error that is told in the midst of something else."""
    status = _nearest(error, STATUSES) or HTTPStatus.INTERNAL_SERVER_ERROR
    return _document(status, _detail(error, None, conversation), type(error), _run_of(error))


def _document(
    status: int, detail: str, kind: type[TertuliaError] | None, more: Mapping[str, object] | None
) -> dict[str, object]:
    phrase = HTTPStatus(status).phrase
    return {
        "type": f"urn:tertulia:problem:{kind.code}" if kind else "about:blank",
        "title": _first_line(kind) if kind else phrase,
        "status": int(status),
        "detail": detail,
        "code": kind.code if kind else phrase.lower().replace(" ", "_"),
        **(more or {}),
    }


def _run_of(error: TertuliaError) -> dict[str, object]:
    return {} if error.run_id is None else {"run_id": error.run_id}


def _detail(error: TertuliaError, key: str | None, conversation: str | None) -> str:
    if error.run_id is None:
        following = _nearest(error, _NEXT)
    else:
        following = _after_acceptance(error, error.run_id, key)
    if following is not None and isinstance(error, ConversationClosed):
        following = following.replace("{id}", conversation or "{id}")
    return _sentences(str(error), following)


def going_down(run_id: str, *, key: str | None) -> Response:
    """Return what is told to those who still wait for an answer when the server has to stop."""
    error = Stopping("The server is going down.", retry_after=_DOWN_SECONDS).in_run(run_id)
    return respond(error, key=key)


def not_yet(run_id: str, *, behind: Run | None, key: str | None) -> Response:
    """Return what is told to those whose run has not ended, and who should wait no longer.

    It stands in line behind one that waits for somebody's decision, or else the server has to stop.
    """
    return going_down(run_id, key=key) if behind is None else _held_up(run_id, holder=behind)


def _held_up(run_id: str, *, holder: Run) -> Response:
    about = "" if holder.wait is None else f": {holder.wait.message.rstrip('.')}"
    detail = (
        f"The message is kept, and waits behind run {holder.id}, which waits for a decision{about}. "
        f"POST /v1/runs/{holder.id}/decide lets it go on, and then this one is answered."
    )
    more = {"run_id": run_id, "waiting_run_id": holder.id}
    return problem(HTTPStatus.CONFLICT, detail, kind=NeedsAttention, headers=_NOT_BY_ITSELF, more=more)


def _after_acceptance(error: TertuliaError, run_id: str, key: str | None) -> str:
    if isinstance(error, Stopping | StoreError):  # what waits has ended, and not the run
        again = "send it again with the same Idempotency-Key, or " if key else ""
        return f"The message is kept and will be answered: {again}read the conversation's messages later."
    if (following := _nearest(error, _AFTERWARDS)) is not None:
        return f"The message is kept{following.format(run_id=run_id)}"
    if key:
        return "The message is kept; the same request with the same Idempotency-Key asks again."
    return (
        "The message is kept; sent again without the Idempotency-Key that it came with, it is said twice. "
        f"POST /v1/runs/{run_id}/retry asks again instead."
    )


def _sentences(said: str, more: str | None) -> str:
    return f"{said.rstrip('.')}. {more}" if more else said


def _pausing(seconds: float | None) -> dict[str, str]:
    return {} if seconds is None else {"retry-after": str(max(1, ceil(seconds)))}


def answers(model: object, *problems: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of what a route answers: this, or one of these problems.

    The problems that every route may answer with are always told.
    """
    described: dict[int | str, dict[str, Any]] = {int(HTTPStatus.OK): {"model": model}}
    for status in sorted({*_ANYWHERE, *problems}):
        content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        described[status] = {"description": HTTPStatus(status).phrase, "content": content}
    return described


def _on_ours(request: Request, error: Exception) -> Response:
    return respond(error) if isinstance(error, TertuliaError) else _unknown(error)


def _on_invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        return _unknown(error)
    found = [_shown(raw) for raw in error.errors()[:_MAX_ERRORS]]
    detail = "; ".join(f"{'.'.join(map(str, place))}: {text}" for place, text in found)
    more = {"errors": [{"loc": place, "msg": text} for place, text in found]}
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, kind=InvalidInput, more=more)


def _on_router(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return _unknown(error)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return problem(error.status_code, "There is nothing at this address.", kind=NotFound)
    return problem(error.status_code, str(error.detail), headers=error.headers)


def _unknown(error: Exception) -> Response:
    raise error


def _shown(raw: Mapping[str, Any]) -> tuple[list[str | int], str]:
    """Return where an input is wrong, with what is wrong there; never the input itself."""
    place = [part if isinstance(part, int) else str(part)[:_MAX_PLACE] for part in raw["loc"]]
    return place, str(raw["msg"]).removeprefix("Value error, ")


def _first_line(kind: type[TertuliaError]) -> str:
    return (kind.__doc__ or "").split("\n")[0].rstrip(".")


def _nearest(error: TertuliaError, table: Mapping[type[TertuliaError], Value]) -> Value | None:
    return next((table[family] for family in type(error).__mro__ if family in table), None)


_ANYWHERE: Final = (400, 405, 421, 500)

PROBLEM_SCHEMA: Final = {
    "title": "Problem",
    "type": "object",
    "description": "What went wrong, as RFC 9457 has it.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "description": "Names the kind of problem."},
        "title": {"type": "string", "description": "Says the kind of problem; always the same for one type."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "Says what is wrong this time."},
        "code": {"type": "string", "description": "The kind of problem as one word."},
        "run_id": {"type": "string", "description": "The run that was accepted, if one was."},
        "waiting_run_id": {
            "type": "string",
            "description": "The run before that one, if it waits for somebody's decision.",
        },
        "error_id": {"type": "string", "description": "Finds an unexpected error in the server's log."},
        "errors": {
            "type": "array",
            "description": "Where the request is wrong.",
            "items": {
                "type": "object",
                "required": ["loc", "msg"],
                "properties": {
                    "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                    "msg": {"type": "string"},
                },
            },
        },
    },
}
