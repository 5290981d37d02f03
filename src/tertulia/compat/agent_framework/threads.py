"""Threads: conversations with an agent, each with a message store of its own."""

import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from typing_extensions import override

from tertulia import Session
from tertulia.compat.agent_framework.asking import Seat, restore_states, saved_states
from tertulia.compat.agent_framework.context import ContextProvider
from tertulia.compat.agent_framework.history import StoredMessages
from tertulia.compat.agent_framework.stores import ChatMessageStoreProtocol, SupportsPlace, state_of
from tertulia.errors import InvalidInput, SessionMismatch
from tertulia.messages import HIDDEN

TYPE: Final = "tertulia.agent_thread"
VERSION: Final = 1
STORE: Final = "chat_message_store_state"
_REMEMBERED: Final = 10_000


class AgentThread:
    """A conversation with an agent; :meth:`ChatAgent.get_new_thread` makes one."""

    def __init__(
        self,
        session: Session,
        *,
        store: ChatMessageStoreProtocol | None,
        seats: Sequence[Seat],
        id: str | None = None,
    ) -> None:
        """Use :meth:`ChatAgent.get_new_thread`; without a store the model's service keeps the messages."""
        self.session = session
        self.id = id or session.id
        """The same before and after it was serialized."""
        self.stored = None if store is None else StoredMessages(store)
        self.providers: dict[str, ContextProvider] = {seat.name: seat.provider() for seat in seats}
        self._seats = seats
        self.has_run = False
        """Whether anything was said in it since it was made or restored."""

    @property
    def message_store(self) -> ChatMessageStoreProtocol | None:
        """Where its messages are kept; ``None`` if the model's service keeps them."""
        return None if self.stored is None else self.stored.store

    @property
    def service_thread_id(self) -> str | None:
        """The id under which the model's service has it, if it has."""
        return self.session.service_session_id

    @property
    def is_initialized(self) -> bool:
        """Whether it is known where its messages are."""
        return self.stored is not None or self.service_thread_id is not None

    async def serialize(self, **kwargs: Any) -> dict[str, Any]:
        """Return what it takes to go on with it elsewhere or later, as JSON values.

        ``kwargs`` are handed to the store. Raises :class:`~tertulia.errors.InvalidInput` if a store or a
        context provider tells a state that is no JSON, and what a store raises that has not kept all that
        was said, and does not do so now.
        """
        if self.stored is not None and self.has_run:
            said = await self.session.messages()
            await self.stored.append([message for message in said if not message.flags & HIDDEN])
        told: dict[str, Any] = {"type": TYPE, "v": VERSION, "id": self.id, "session": self.session.to_dict()}
        if self.stored is not None:
            told[STORE] = await state_of(self.stored.store, **kwargs)
        states = await saved_states(self._seats, self.providers)
        return told | {"context_providers": states} if states else told

    async def take_in(self, told: Mapping[str, Any], **kwargs: Any) -> None:
        """Take in what :meth:`serialize` has told; ``kwargs`` are handed to the store."""
        if self.stored is not None:
            await self.stored.store.update_from_state(told.get(STORE), **kwargs)
        states = told.get("context_providers") or {}
        await restore_states(self._seats, self.providers, states, thread_id=self.id)

    @override
    def __repr__(self) -> str:
        return f"AgentThread({self.id!r})"


class Places:
    """Where the stores of an agent's threads keep messages, so that two threads do not share a place."""

    def __init__(self) -> None:
        self._threads: OrderedDict[str, str] = OrderedDict()

    def take(self, thread: AgentThread, *, stacklevel: int) -> None:
        """Note where a thread's messages are; warn if another thread's are there."""
        store = thread.message_store
        if not isinstance(store, SupportsPlace):
            return
        owner = self._threads.setdefault(store.kept_at, thread.id)
        self._threads.move_to_end(store.kept_at)
        if len(self._threads) > _REMEMBERED:
            self._threads.popitem(last=False)
        if owner != thread.id:
            warnings.warn(
                "two threads keep their messages in one place, so that each is shown what was said in the "
                "other: have chat_message_store_factory give each store a thread_id of its own, or none",
                UserWarning,
                stacklevel=stacklevel,
            )


def checked_thread(given: Mapping[str, Any], *, is_kept_by_service: bool) -> Mapping[str, Any]:
    """Return a serialized thread, of ours or of the older framework, that an agent can go on with.

    Raises :class:`~tertulia.errors.InvalidInput` for what is none, and
    :class:`~tertulia.errors.SessionMismatch` if its messages are where the agent does not look.
    """
    if not isinstance(given, Mapping) or not ({"session", STORE, "service_thread_id"} & given.keys()):
        raise InvalidInput("this is no thread as serialize() tells it")
    if given.get("v", VERSION) != VERSION:
        raise InvalidInput(f"this thread was saved by another version ({given['v']}); update this one")
    if given.get("service_thread_id"):
        raise InvalidInput("the messages of this thread are kept by a service, under an id that is not ours")
    is_elsewhere = "session" in given and STORE not in given
    if is_kept_by_service != is_elsewhere:
        places = ["a message store", "the model's service"]
        raise SessionMismatch(
            f"the messages of this thread are kept by {places[is_elsewhere]}, and this agent looks for them "
            f"in {places[is_kept_by_service]}"
        )
    return given
