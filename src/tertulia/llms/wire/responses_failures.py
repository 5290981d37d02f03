"""What failures mean that only the Responses API has."""

import re
from collections.abc import Mapping
from re import Pattern
from typing import Final

from tertulia.errors import AnswerGone, ModelError, ModelUnreachable
from tertulia.llms.wire.failures import LOCKED, error_of, failure_within
from tertulia.llms.wire.responses_body import Skill

NOT_FOUND: Final = 404

_REFUSED: Final = frozenset(
    {
        "bio_policy",
        "data_residency_mismatch",
        "empty_image_file",
        "failed_to_download_image",
        "image_content_policy_violation",
        "image_file_not_found",
        "image_file_too_large",
        "image_parse_error",
        "image_too_large",
        "image_too_small",
        "invalid_base64_image",
        "invalid_image",
        "invalid_image_format",
        "invalid_image_mode",
        "invalid_image_url",
        "invalid_prompt",
        "misalignment_policy_violation",
        "unsupported_image_media_type",
    }
)
"""Codes of failed answers that would fail again."""
_BAD_REQUEST: Final = {"type": "invalid_request_error"}
_MAYBE_LACKING: Final = frozenset({400, 422, 501})
_MAYBE_GONE: Final = frozenset({400, NOT_FOUND, 422})
_GONE: Final = "the model's provider no longer has what this was to go on from"
_KEPT: Final = ("previous_response", "Previous response", "conversation_not_found", "Conversation with id")
_UNANSWERED: Final = ("No tool output found", "No tool call found")
"""What is said of a conversation that stopped between a call and its result: it cannot go on either."""
_FOREIGN: Final = ("invalid_encrypted_content", "of type 'reasoning'", "id 'rs_")
_MARKS: Final[Mapping[Skill, Pattern[str]]] = {
    "encrypting": re.compile(r"encrypted|\binclude\b"),
    "summing_up": re.compile(r"summar"),
    "working_alone": re.compile(r"\bbackground\b"),
    "keeping": re.compile(r"\bstored?\b"),
}
"""What an error's words speak of."""
_FIELDS: Final[Mapping[Skill, Pattern[str]]] = {
    "encrypting": re.compile(r"^include\b"),
    "summing_up": re.compile(r"^reasoning\.summary$"),
    "working_alone": re.compile(r"^background$"),
    "keeping": re.compile(r"^store$"),
}
"""The fields of a request that an error complains of."""


def failure_in(event: Mapping[str, object], leans_on: str | None = None) -> ModelError:
    """Return the error of an ``error`` event, or of a response that has failed.

    ``leans_on`` is the id of what the answer was to go on from.
    """
    error = event.get("error") or event
    if isinstance(error, dict) and _is_gone(error, leans_on):
        return AnswerGone(_GONE)
    if isinstance(error, dict) and str(error.get("code")) in _REFUSED:
        error = error | _BAD_REQUEST
    return failure_within({"error": error}) or ModelUnreachable("the model's provider broke off its answer")


def gone(status: int, body: bytes, leans_on: str | None) -> AnswerGone | None:
    """Return the error for what was to be gone on from and cannot be; ``None`` for others."""
    is_gone = status in _MAYBE_GONE and _is_gone(error_of(body), leans_on)
    return AnswerGone(_GONE) if is_gone else None


def is_about_reasoning(status: int, body: bytes) -> bool:
    """Whether a server refuses reasoning that it was given back, as it does with another model's."""
    return status in _MAYBE_GONE and _any(_FOREIGN, _told(body))


def lacking(status: int, body: bytes, used: frozenset[Skill]) -> Skill | None:
    """Return what a server says that it cannot do, of what was used; ``None`` if it says nothing such."""
    if status not in _MAYBE_LACKING:
        return None
    told = error_of(body)
    # An error that names its field is about that one, whatever else it speaks of.
    named = str(told.get("param") or "")
    fits = _FIELDS if named else _MARKS
    about = named or _words(told)
    return next((skill for skill, fit in fits.items() if skill in used and fit.search(about)), None)


def _is_gone(error: Mapping[str, object], leans_on: str | None) -> bool:
    """Whether an error is about what the provider was to have kept, and not just busy with."""
    if leans_on is None or error.get("code") == LOCKED:
        return False
    return error.get("param") == "conversation" or _any((leans_on, *_KEPT, *_UNANSWERED), _words(error))


def _any(marks: tuple[str, ...], told: str) -> bool:
    return any(mark in told for mark in marks)


def _told(body: bytes) -> str:
    """Return what an error says of its cause: parameter, code and message."""
    return _words(error_of(body))


def _words(error: Mapping[str, object]) -> str:
    return " ".join(str(error.get(name) or "") for name in ("param", "code", "message", "detail"))
