"""The outermost layer of the service: around every request, whatever becomes of it."""

import logging
from asyncio import CancelledError, current_task
from collections.abc import Iterable
from time import perf_counter
from typing import Final
from uuid import uuid4

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tertulia.errors import Stopping
from tertulia.server.errors import going_down, problem, respond
from tertulia.server.logs import places, write

_LOG: Final = logging.getLogger(__name__)
_NOTES: Final = "tertulia.notes"
_SERVER_ERROR: Final = 500
_CLIENT_GONE: Final = 499
"""For the log alone: nobody is there to be answered. The number is nginx's."""
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_QUIET_ROUTES: Final = frozenset({"/livez", "/readyz"})

_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_DEFAULTS: Final = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    (b"cache-control", b"no-store"),
)
"""Pages bring their own."""


def note(scope: Scope, **ids: str) -> None:
    """Have ids of ours written into the request's log line."""
    scope.setdefault(_NOTES, {}).update(ids)


class Edge:
    """Gives every response its security headers and a log line, and has the last word on surprises."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry the request out."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        began, status = perf_counter(), 0
        scope[_NOTES] = {}

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _secured(message.get("headers", ()))
            await send(message)

        try:
            await self._inner(scope, receive, guarded)
        except ClientDisconnect:
            status = status or _CLIENT_GONE
        except (Exception, CancelledError) as error:
            answer = _last_word(error, scope)
            if status:  # the response has begun: only a cut connection can tell that it is not whole
                raise
            await answer(scope, receive, guarded)
        finally:
            _write(scope, status, perf_counter() - began)


def _last_word(error: BaseException, scope: Scope) -> Response:
    task = current_task()
    if not isinstance(error, CancelledError) or task is None or not task.cancelling():
        return _last_resort(error, scope)
    task.uncancel()  # only the server's own stop cancels a request
    return _stopping(scope)


def _stopping(scope: Scope) -> Response:
    """Return what is told to who is still here when the server has to go."""
    if run_id := scope[_NOTES].get("run"):
        return going_down(run_id, key=None)
    answer = respond(Stopping("This server is about to stop."))
    if scope["method"] not in _SAFE:  # what was asked for may just have been taken in
        answer.headers["x-should-retry"] = "false"
    return answer


def _last_resort(error: BaseException, scope: Scope) -> Response:
    error_id, run_id = uuid4().hex, scope[_NOTES].get("run")
    write(
        _LOG,
        logging.ERROR,
        "unexpected error",
        error_id=error_id,
        error=type(error).__name__,
        at=places(error.__traceback__),
        route=_route(scope),
        **scope[_NOTES],
    )
    return problem(
        _SERVER_ERROR,
        f"Something unexpected went wrong; the server's log tells more under {error_id}.",
        headers={"x-should-retry": "false"} if run_id else None,
        more={"error_id": error_id} | ({"run_id": run_id} if run_id else {}),
    )


def _write(scope: Scope, status: int, seconds: float) -> None:
    route = _route(scope)
    if status >= _SERVER_ERROR:
        level = logging.WARNING
    else:
        level = logging.DEBUG if route in _QUIET_ROUTES else logging.INFO
    write(
        _LOG,
        level,
        "request",
        method=scope["method"],
        route=route,
        status=status,
        ms=round(seconds * 1000, 2),
        **scope[_NOTES],
    )


def _route(scope: Scope) -> str | None:
    """Return the template of the route, which holds nothing that a caller wrote."""
    return getattr(scope.get("route"), "path", None)


def _secured(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    given = [*headers]
    names = {name for name, _ in given}
    return [*given, *_HEADERS, *(default for default in _DEFAULTS if default[0] not in names)]
