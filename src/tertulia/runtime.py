"""What a program and the service both need: a store, an engine on it, and a way to say something."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

import orjson

from tertulia import ids
from tertulia.conversations import DEFAULT_TENANT, Multitask, NewConversation, Submission
from tertulia.definitions import ModelSettings
from tertulia.engine import Engine, Performer, Probe, Ticket, unobserved
from tertulia.errors import InvalidInput
from tertulia.memory.history import tokens_of
from tertulia.messages import check_text, text_content
from tertulia.stores import Store

MAX_KEY: Final = 255
"""Characters of an Idempotency-Key at most."""
MAX_NAME: Final = 255
"""Characters of an id that a caller chooses at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What a request may set beyond its message."""

    settings: ModelSettings = field(default_factory=ModelSettings)
    """Laid over the agent's own."""
    multitask: Multitask = "enqueue"
    """What happens when a run holds the conversation already."""
    expected_head: int | None = None
    """Number of the newest message that the caller has seen; another one refuses the request."""
    idempotency_key: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    deltas: bool = False
    """Whether the caller follows the answer while it is spoken."""

    def kept(self) -> dict[str, object]:
        """Return what is stored with the run."""
        kept: dict[str, object] = {"settings": self.settings.given(), "metadata": dict(self.metadata)}
        kept = {name: value for name, value in kept.items() if value}
        return kept | {"deltas": True} if self.deltas else kept


_NO_OPTIONS: Final = RunOptions()


class Runtime:
    """A store and the engine that works on it; the first performer is the one that answers by default."""

    def __init__(
        self,
        store: Store,
        performers: Mapping[str, Performer],
        *,
        lease_seconds: float = 10.0,
        probe: Probe = unobserved,
    ) -> None:
        self.store = store
        self._performer = next(iter(performers))
        self.engine = Engine(store, performers=performers, lease_seconds=lease_seconds, probe=probe)

    async def start(self) -> None:
        """Open the store and begin to work; raises what opening it raises."""
        await self.store.open()
        await self.engine.start()

    async def stop(self, *, grace_seconds: float = 0.0) -> None:
        """Give runs under way some seconds to end, hand the others over, and close the store."""
        await self.engine.stop(grace_seconds=grace_seconds)
        await self.store.close()

    async def submit(
        self,
        text: str,
        *,
        conversation: str | NewConversation,
        tenant: int = DEFAULT_TENANT,
        performer: str | None = None,
        options: RunOptions = _NO_OPTIONS,
    ) -> Ticket:
        """Say something in a conversation; returns once it is kept.

        Raises :class:`~tertulia.errors.InvalidInput` for an empty or impossible text and for a key
        that is too long, and what :meth:`RunStore.accept` raises.
        """
        check_text(text, what="the message")
        if not text.strip():
            raise InvalidInput("the message is empty; say something")
        _check_key(options.idempotency_key)
        kept = options.kept()
        submission = Submission(
            tenant=tenant,
            conversation=_checked(conversation),
            run_id=ids.new_id(ids.RUN),
            message_id=ids.new_id(ids.MESSAGE),
            content=text_content(text),
            tokens=tokens_of(text),
            performer=performer or self._performer,
            options=kept,
            multitask=options.multitask,
            expected_head=options.expected_head,
            key=options.idempotency_key,
            request_hash=_digest(text, kept) if options.idempotency_key else b"",
        )
        return await self.engine.submit(submission)


def _checked(conversation: str | NewConversation) -> str | NewConversation:
    if isinstance(conversation, NewConversation) and conversation.alias is not None:
        check_alias(conversation.alias)
    return conversation


def check_alias(alias: str) -> str:
    """Return an id that a caller may choose for a conversation; raises ``InvalidInput`` otherwise."""
    if not alias or len(alias) > MAX_NAME or not alias.isprintable():
        raise InvalidInput(f"an id must be 1 to {MAX_NAME} printable characters")
    if ids.is_id(alias, prefix=ids.CONVERSATION):
        raise InvalidInput("ids of this form are made here, not chosen; choose another")
    return alias


def _check_key(key: str | None) -> None:
    if key is not None and (not key or len(key) > MAX_KEY or not key.isprintable()):
        raise InvalidInput(f"an Idempotency-Key must be 1 to {MAX_KEY} printable characters")


def _digest(text: str, kept: Mapping[str, object]) -> bytes:
    """Return what must be equal in two requests with one key; the conversation is the key's scope."""
    return sha256(orjson.dumps([text, kept], option=orjson.OPT_SORT_KEYS)).digest()
