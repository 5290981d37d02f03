"""Whose a conversation is, as far as a request says it."""

from tertulia.conversations import Conversation
from tertulia.errors import IdempotencyMismatch, InvalidInput, SessionMismatch


def check_new(user: str | None, *, conversation: str | None) -> None:
    """Raise :class:`InvalidInput` if a user is named for a conversation that is there already."""
    if user is not None and conversation is not None:
        raise InvalidInput("a user is named where a conversation begins: with an agent_id, not within one")


def check_user(user: str | None, conversation: Conversation) -> None:
    """Raise :class:`SessionMismatch` unless a conversation is this user's; who names none may have it."""
    if user is not None and user != conversation.user_id:
        raise SessionMismatch("this conversation belongs to another user, or to nobody")


def check_repeated(user: str | None, begun: Conversation, *, conversation: str | None) -> None:
    """Raise :class:`IdempotencyMismatch` if a request has joined one of another user by its key."""
    if conversation is None and user != begun.user_id:
        raise IdempotencyMismatch
