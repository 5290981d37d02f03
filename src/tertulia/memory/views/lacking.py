"""What a history provider lacks of a conversation, as our log has it."""

from collections.abc import Collection, Sequence
from typing import Final

from tertulia.conversations import Conversation
from tertulia.memory.tokens import tokens_of
from tertulia.memory.views.log import Log
from tertulia.messages import HIDDEN, Message

_FIRST_PAGE: Final = 8
_MOST: Final = 512


async def lacking(
    log: Log,
    conversation: Conversation,
    *,
    newest: Sequence[Message],
    known: Collection[str],
    budget: int | None,
) -> tuple[list[Message], str | None]:
    """Return the messages after the last one of these ids, oldest first, and that id.

    Where there is none, these are all messages of the conversation; or so many, if ``budget`` is given,
    that they are more tokens and a user has said one of them. ``newest`` are the last messages, as far as
    the caller has them: nothing is read if the very last one is known.
    """
    if newest and newest[-1].number == conversation.head and newest[-1].id in known:
        return [], newest[-1].id
    found: list[Message] = []
    upto, limit, tokens, has_user = conversation.head, _FIRST_PAGE, 0, False
    while upto > 0:
        page = await log.recent(conversation.tenant, conversation.id, upto=upto, limit=limit)
        for message in page:
            if message.id in known:
                return found[::-1], message.id
            if message.flags & HIDDEN:
                continue
            found.append(message)
            tokens += tokens_of(message.content)
            has_user = has_user or message.role == "user"
            if budget is not None and has_user and tokens > budget:
                return found[::-1], None
        if not page:
            break
        upto, limit = page[-1].number - 1, min(2 * limit, _MOST)
    return found[::-1], None
