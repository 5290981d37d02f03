"""The port to views: what of a conversation a model is shown."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeAlias

from tertulia.conversations import Conversation
from tertulia.errors import ContextTooLong
from tertulia.llms.base import Shown
from tertulia.memory.transcript import Passage
from tertulia.messages import Message

LOG: Final = "log"
"""The owner of a history that is our own log."""

Work: TypeAlias = Callable[[], Awaitable[list[Message]]]
Pay: TypeAlias = Callable[[Work], Awaitable[list[Message]]]
"""Has work done that asks a model, once for its run, and gives what it has given."""


async def at_once(work: Work) -> list[Message]:
    """Have work done without keeping a record of it."""
    return await work()


def too_long(room: int) -> ContextTooLong:
    """Return the error for a newest message that takes more than all the room there is, in tokens."""
    return ContextTooLong(
        f"the newest message does not fit: there is room for about {room} tokens; send less, or let the "
        "model be shown more (context_tokens=, or TERTULIA_CONTEXT_TOKENS for a server)"
    )


class View(Protocol):
    """Shows the past of a conversation to models.

    Laws: a call of a tool is shown with its result directly after it, or neither is. The same past is
    shown as the same bytes, in every process. One object serves all conversations of an agent; what
    it keeps of one is only there to be quicker, and bounded.
    """

    @property
    def owner(self) -> str:
        """Who keeps the history that is shown: ``log`` for our own log, else the name of a provider."""
        return LOG

    async def show(  # everything that decides what is shown
        self,
        conversation: Conversation,
        *,
        newest: Sequence[Message],
        budget: int,
        most: int | None = None,
        opening: tuple[Shown, ...] = (),
        pay: Pay = at_once,
    ) -> Passage:
        """Return what is shown of the conversation up to its head, within ``budget`` tokens.

        ``newest`` are the log's last messages, as far as the caller has them; ``opening`` is put in
        front, whatever it costs. The newest exchange may take more, up to ``most`` tokens. Raises
        :class:`~tertulia.errors.ContextTooLong` if not even that fits.
        """
        ...

    def learn(self, conversation: Conversation, said: Sequence[Message], *, budget: int) -> None:
        """Take in messages that were just kept, so that the next turn need not read them.

        ``conversation`` and ``budget`` are those that were shown before; what does not go on from
        there is left to be read.
        """
        ...
