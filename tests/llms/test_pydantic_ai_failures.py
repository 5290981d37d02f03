"""Whatever a library raises comes out as one of our errors, and tells nothing that it should not."""

import pytest
from pydantic_ai.exceptions import (
    ContentFilterError,
    ModelAPIError,
    ModelConnectionError,
    ModelHTTPError,
    ModelQuotaExceededError,
    ModelRequestTimeout,
    ModelTimeoutError,
    ModelUnavailableError,
    UnexpectedModelBehavior,
    UserError,
)

from tertulia.errors import (
    ModelBusy,
    ModelError,
    ModelMalformed,
    ModelRefused,
    ModelTimeout,
    ModelUnreachable,
)
from tertulia.llms.by_pydantic_ai.failures import ours, unopened

SECRET = "what nobody may see"  # noqa: S105  # a text that is looked for


class NoCredentialsError(Exception):
    """As Amazon's library has it."""


class ReadTimeoutError(Exception):
    """As many libraries have it."""


class EndpointConnectionError(Exception):
    """As Amazon's library has it."""


def broken(cause: Exception) -> ModelAPIError:
    error = ModelAPIError("m", SECRET)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "leaf"),
    [
        (ModelTimeoutError("m", SECRET), ModelTimeout),
        (ModelRequestTimeout("m", 3), ModelTimeout),
        (ModelConnectionError("m", SECRET), ModelUnreachable),
        (broken(ValueError(SECRET)), ModelMalformed),
        (broken(OSError(SECRET)), ModelUnreachable),
        (ModelHTTPError(402, "m", {"error": SECRET}), ModelRefused),
        (ModelHTTPError(408, "m", SECRET.encode()), ModelTimeout),
        (ModelHTTPError(504, "m", SECRET), ModelTimeout),
        (ModelHTTPError(502, "m", None), ModelUnreachable),
        (ModelHTTPError.for_category(ModelQuotaExceededError, status_code=429, model_name="m"), ModelRefused),
        (ModelHTTPError.for_category(ModelUnavailableError, status_code=403, model_name="m"), ModelBusy),
        (ContentFilterError(SECRET), ModelRefused),
        (UnexpectedModelBehavior(SECRET), ModelMalformed),
        (UserError(SECRET), ModelRefused),
        (NotImplementedError(SECRET), ModelRefused),
        (KeyError(SECRET), ModelMalformed),
        (AssertionError(SECRET), ModelMalformed),
        (ConnectionResetError(SECRET), ModelUnreachable),
        (TimeoutError(SECRET), ModelTimeout),
        (NoCredentialsError(SECRET), ModelRefused),
        (ReadTimeoutError(SECRET), ModelTimeout),
        (EndpointConnectionError(SECRET), ModelUnreachable),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_every_error_has_its_leaf_and_a_safe_text(error: Exception, leaf: type[ModelError]) -> None:
    found = ours(error)

    assert type(found) is leaf
    assert SECRET not in str(found)


def test_wait_that_a_provider_tells_in_its_body_is_kept_within_bounds() -> None:
    told = ModelHTTPError(429, "m", None, retry_after=12.5)
    endless = ModelHTTPError(429, "m", None, retry_after=1e12)

    assert ours(told).retry_after == 12.5
    assert ours(endless).retry_after == 7 * 24 * 3600


def test_what_cannot_be_opened_names_variables_and_nothing_else() -> None:
    error = unopened(UserError(f"Set `SOME_API_KEY` or `OTHER_KEY`, {SECRET}"), "some:model")

    assert str(error) == "the model 'some:model' cannot be asked: set SOME_API_KEY or OTHER_KEY"
