"""What a provider's failures mean in our own tree of errors."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from tertulia.errors import (
    ContextTooLong,
    ModelBusy,
    ModelError,
    ModelMalformed,
    ModelRefused,
    ModelTimeout,
    ModelUnreachable,
)
from tertulia.llms.wire.sse import decode

LOCKED: Final = "conversation_locked"
"""Code of a failure that passes when the provider has ended what it does in a conversation."""

_BY_STATUS: Final[Mapping[int, type[ModelError]]] = {
    408: ModelTimeout,
    413: ContextTooLong,
    429: ModelBusy,
    503: ModelBusy,
    504: ModelTimeout,
    524: ModelTimeout,
    529: ModelBusy,
}
_BY_CODE: Final[Mapping[str, type[ModelError]]] = {
    "billing_hard_limit_reached": ModelRefused,
    "billing_not_active": ModelRefused,
    LOCKED: ModelBusy,
    "context_length_exceeded": ContextTooLong,
    "exceed_context_size_error": ContextTooLong,
    "insufficient_quota": ModelRefused,
    "invalid_api_key": ModelRefused,
    "model_not_found": ModelRefused,
    "overloaded_error": ModelBusy,
    "rate_limit_exceeded": ModelBusy,
}
_OVERFLOW: Final = re.compile(r"context (length|window|size)|too many tokens", re.IGNORECASE)
_UNABLE: Final = re.compile(
    r"(image|audio|video|file) input is not supported|does not support (images?|audio|tools)\b", re.IGNORECASE
)
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.-]")
_MAX_CODE: Final = 64
_BAD_REQUEST: Final = "invalid_request_error"
_SERVER: Final = 500
_UNSAID: Final = 0
_MAX_WAIT: Final = 7 * 24 * 3600.0


def failure_of(status: int, body: bytes, headers: Mapping[str, str]) -> ModelError:
    """Return the error for a response that is none; it shows the status and the provider's code only."""
    return _failure(status, error_of(body), retry_after(headers))


def error_of(body: bytes) -> Mapping[str, object]:
    """Return the error in a response that is none, as its provider wrote it; empty if it tells none."""
    try:
        return _error_in(decode(body))
    except ModelMalformed:
        return {}


def is_about(field: str, body: bytes) -> bool:
    """Whether a response complains of a field of the request: by naming it, or else in its words."""
    error = error_of(body)
    named = error.get("param")
    return str(named).partition(".")[0] == field if named else field.encode() in body


def failure_within(event: Mapping[str, object]) -> ModelError | None:
    """Return the error that an event of a stream, or a plain answer, carries; ``None`` if it has none."""
    if not event.get("error"):
        return None
    error = _error_in(event)
    code = error.get("code") or error.get("status")
    status = int(code) if isinstance(code, int | str) and str(code).isdecimal() else _UNSAID
    return _failure(status, error, None)


def _error_in(found: object) -> Mapping[str, object]:
    """Return the error object, whichever way the server wraps it."""
    if not isinstance(found, dict):
        return {}
    error = found.get("error", found)
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}


def _failure(status: int, error: Mapping[str, object], wait: float | None) -> ModelError:
    codes = [_safe(code) for code in (error.get("code"), error.get("type")) if code and isinstance(code, str)]
    leaf = _leaf(status or _SERVER, codes, str(error.get("message", "")))
    what = f"answered {status}" if status else "broke off its answer"
    why = f" ({codes[0]})" if codes else ""
    return leaf(f"the model's provider {what}{why}", retry_after=wait)


def _safe(code: str) -> str:
    return _UNSAFE.sub("", code)[:_MAX_CODE]


def _leaf(status: int, codes: list[str], message: str) -> type[ModelError]:
    for code in codes:
        if leaf := _BY_CODE.get(code):
            return leaf
    if leaf := _BY_STATUS.get(status):
        return leaf
    is_refusal = status < _SERVER or _BAD_REQUEST in codes or bool(_UNABLE.search(message))
    if is_refusal and _OVERFLOW.search(message):
        return ContextTooLong
    return ModelRefused if is_refusal else ModelUnreachable


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a response asks us to wait, if it does."""
    if (thousandths := _number(headers.get("retry-after-ms"))) is not None:
        return _bounded(thousandths / 1000)
    given = headers.get("retry-after")
    if given is None:
        return None
    if (seconds := _number(given)) is not None:
        return _bounded(seconds)
    return _until(given)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _until(date: str) -> float | None:
    try:
        then = parsedate_to_datetime(date)
    except ValueError:
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return _bounded((then - datetime.now(UTC)).total_seconds())


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), _MAX_WAIT)
