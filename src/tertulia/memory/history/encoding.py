"""Messages as the JSON texts that history providers keep."""

from typing import Any

import orjson

from tertulia.errors import InvalidInput, ProviderError
from tertulia.messages import Message

_UNREADABLE = "the history of the session holds something that is no message; nothing of it is used"


def encode(message: Message, **more: int) -> bytes:
    """Return a message as one line of JSON, with further fields beside its own.

    Raises :class:`~tertulia.errors.InvalidInput` for what JSON cannot carry.
    """
    try:
        return orjson.dumps(message.to_dict() | more)
    except TypeError as error:
        raise InvalidInput("a message holds something that JSON cannot carry") from error


def decode(kept: bytes | str) -> Message:
    """Return the message that was encoded; raises :class:`~tertulia.errors.ProviderError` if it is none."""
    return message_of(parse(kept))


def parse(kept: bytes | str) -> dict[str, Any]:
    """Return a JSON object; raises :class:`~tertulia.errors.ProviderError` if it is none."""
    try:
        found = orjson.loads(kept)
    except ValueError as error:
        raise ProviderError(_UNREADABLE) from error
    if not isinstance(found, dict):
        raise ProviderError(_UNREADABLE)
    return found


def message_of(found: dict[str, Any]) -> Message:
    """Return the message that a JSON object is; raises :class:`~tertulia.errors.ProviderError` if none."""
    try:
        if not isinstance(found["id"], str):
            raise ProviderError(_UNREADABLE)
        return Message.from_dict(found)
    except (InvalidInput, KeyError, TypeError, ValueError) as error:
        raise ProviderError(_UNREADABLE) from error
