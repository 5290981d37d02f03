"""What pydantic-ai's failures, and those of the libraries below it, mean in our own tree of errors."""

import re
from collections.abc import Mapping
from typing import Final

import orjson
from pydantic_ai.exceptions import (
    ContentFilterError,
    ModelAPIError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestRejectedError,
    ModelRequestTimeout,
    ModelServerError,
    ModelTimeoutError,
    ModelUnavailableError,
    UserError,
)

from tertulia.errors import (
    ContextTooLong,
    ModelBusy,
    ModelError,
    ModelMalformed,
    ModelRefused,
    ModelTimeout,
    ModelUnreachable,
)
from tertulia.llms.wire.failures import failure_of

_LEAVES: Final[Mapping[type[Exception], type[ModelError]]] = {
    ModelContextWindowExceededError: ContextTooLong,
    ModelQuotaExceededError: ModelRefused,
    ModelRateLimitError: ModelBusy,
    ModelUnavailableError: ModelBusy,
    ModelRequestRejectedError: ModelRefused,
    ModelRequestTimeout: ModelTimeout,
    ModelTimeoutError: ModelTimeout,
    ModelConnectionError: ModelUnreachable,
    ModelServerError: ModelUnreachable,
    ContentFilterError: ModelRefused,
    TimeoutError: ModelTimeout,
    OSError: ModelUnreachable,
    UserError: ModelRefused,
    NotImplementedError: ModelRefused,
}
"""The first that fits decides."""
_BY_WORDS: Final[Mapping[str, type[ModelError]]] = {
    r"timeout": ModelTimeout,
    r"credential|noregion|configuration|token.*(?:expired|retrieval)|unauthorized": ModelRefused,
    r"connect|protocolerror|networkerror|readerror|writeerror|endpoint|incompleteread": ModelUnreachable,
}
"""Of errors that some library lets through: what their class names speak of."""
_TEXTS: Final[Mapping[type[ModelError], str]] = {
    ContextTooLong: "the prompt does not fit the model's window",
    ModelBusy: "the model's provider is busy",
    ModelRefused: "the model's provider refused the request",
    ModelTimeout: "the model's provider took too long to answer",
    ModelUnreachable: "the model's provider cannot be reached, or broke off its answer",
    ModelMalformed: "the model's provider sent something that is no answer",
}
_NO_ANSWER: Final = re.compile(r"SSE|Decode|Parse|ValidationError|Checksum")
"""Of errors about what was received: it came, but is no answer."""
_OK: Final = 200
_VARIABLES: Final = re.compile(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b")
_LACKING: Final[Mapping[str, str]] = {
    "NoRegionError": "AWS_DEFAULT_REGION",
    "DefaultCredentialsError": "GOOGLE_APPLICATION_CREDENTIALS",
}
"""What is not set, by the errors that say nothing of variables."""
_LONGEST_WAIT: Final = 7 * 24 * 3600.0


def ours(error: Exception, *, if_out_of_reach: str = "") -> ModelError:
    """Return our error for any that a call has raised; its text holds nothing of the provider's.

    ``if_out_of_reach`` says what to do if there was no connection.
    """
    if isinstance(error, ModelHTTPError):
        return _of_status(error)
    if if_out_of_reach and isinstance(error, ModelConnectionError):
        return ModelUnreachable(f"the model's provider cannot be reached: {if_out_of_reach}")
    leaf = _leaf(error) or ModelMalformed
    wait = error.retry_after if isinstance(error, ModelAPIError) else None
    return leaf(_TEXTS[leaf], retry_after=_bounded(wait))


def unopened(error: Exception, model: str) -> ModelError:
    """Return our error for a model that could not even be asked, naming what is to be set."""
    variables = dict.fromkeys(_VARIABLES.findall(str(error)))
    if lacking := _LACKING.get(type(error).__name__):
        variables[lacking] = None
    if variables:
        return ModelRefused(f"the model {model!r} cannot be asked: set {' or '.join(variables)}")
    return ModelRefused(f"the model {model!r} cannot be asked: check its name and its provider's settings")


def _of_status(error: ModelHTTPError) -> ModelError:
    found = failure_of(error.status_code, _body(error.body), error.headers or {})
    leaf = _category(error)
    # The library knows what providers say in their own ways; of all else the status tells more.
    is_known = leaf in {ContextTooLong, ModelBusy} or isinstance(error, ModelQuotaExceededError)
    kind = leaf if leaf and is_known else type(found)
    wait = found.retry_after if found.retry_after is not None else _bounded(error.retry_after)
    return kind(str(found), retry_after=wait)


def _body(body: object) -> bytes:
    """Return an error's body as it came, or nearly so: some libraries have read it already."""
    if isinstance(body, bytes):
        return body
    return body.encode("utf-8", "replace") if isinstance(body, str) else orjson.dumps(body, default=repr)


def _leaf(error: Exception) -> type[ModelError] | None:
    cause = error.__cause__
    if cause and (_NO_ANSWER.search(type(cause).__name__) or getattr(cause, "status_code", None) == _OK):
        return ModelMalformed
    if leaf := _category(error):
        return leaf
    return _of_cause(error) if isinstance(error, ModelAPIError) else _by_words(error)


def _category(error: Exception) -> type[ModelError] | None:
    return next((leaf for kind, leaf in _LEAVES.items() if isinstance(error, kind)), None)


def _of_cause(error: ModelAPIError) -> type[ModelError]:
    """Return what an error without a category of its own comes from: no answer, or no connection."""
    cause = error.__cause__
    is_no_answer = cause is None or isinstance(cause, ValueError | TypeError)
    return ModelMalformed if is_no_answer else ModelUnreachable


def _by_words(error: Exception) -> type[ModelError] | None:
    names = " ".join(kind.__name__.lower() for kind in type(error).__mro__)
    return next((leaf for words, leaf in _BY_WORDS.items() if re.search(words, names)), None)


def _bounded(seconds: float | None) -> float | None:
    return None if seconds is None else min(max(seconds, 0.0), _LONGEST_WAIT)
