"""What a program and the service both need: a store, an engine on it, and a way to say something."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

import orjson

from tertulia import ids
from tertulia.agent_settings import ModelSettings, RunLimits
from tertulia.conversations import (
    DEFAULT_TENANT,
    Branch,
    Conversation,
    Multitask,
    NewConversation,
    Once,
    Run,
    Submission,
)
from tertulia.engine import Decision, Engine, Performer, Probe, Ticket, Worker, unobserved
from tertulia.errors import InvalidInput, NotFound
from tertulia.events import Numbered
from tertulia.hints import Hints
from tertulia.memory.tokens import tokens_of
from tertulia.messages import check_text
from tertulia.parts import Media, Part, Text, encode_part, text_content
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
    limits: RunLimits = field(default_factory=RunLimits)
    """Beside the agent's own; of both the tighter counts."""
    multitask: Multitask = "enqueue"
    """What happens when a run holds the conversation already."""
    reopens: bool = False
    """Whether a closed conversation is opened by the message, which it refuses otherwise."""
    expected_head: int | None = None
    """Number of the newest message that the caller has seen; another one refuses the request."""
    idempotency_key: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    deltas: bool = False
    """Whether the caller follows the answer while it is spoken."""
    moves_history: bool = False
    """Whether who keeps the conversation's history is from now on whoever its agent says."""

    def kept(self) -> dict[str, object]:
        """Return what is stored with the run."""
        kept: dict[str, object] = {}
        if settings := self.settings.given():
            kept["settings"] = settings
        if limits := self.limits.given():
            kept["limits"] = limits
        if self.metadata:
            kept["metadata"] = dict(self.metadata)
        if self.deltas:
            kept["deltas"] = True
        if self.moves_history:
            kept["moves_history"] = True
        return kept


_NO_OPTIONS: Final = RunOptions()
_PAGE: Final = 200


class Runtime:
    """A store and the engine that works on it; the first performer is the one that answers by default."""

    def __init__(
        self,
        store: Store,
        performers: Mapping[str, Performer],
        *,
        workers: Mapping[str, Worker] | None = None,
        hints: Hints | None = None,
        lease_seconds: float = 10.0,
        probe: Probe = unobserved,
    ) -> None:
        self.store = store
        self._performer = next(iter(performers))
        self.engine = Engine(
            store,
            performers=performers,
            workers=workers,
            hints=hints,
            lease_seconds=lease_seconds,
            probe=probe,
        )

    async def start(self) -> None:
        """Open the store and begin to work; raises what opening it raises."""
        await self.store.open()
        await self.engine.start()

    async def stop(self, *, grace_seconds: float = 0.0) -> None:
        """Give runs under way some seconds to end, hand the others over, and close the store."""
        await self.engine.stop(grace_seconds=grace_seconds)
        await self.store.close()

    def drain(self, *, grace_seconds: float = 0.0) -> None:
        """Begin to take leave, as :meth:`Engine.drain` does."""
        self.engine.drain(grace_seconds=grace_seconds)

    @property
    def is_draining(self) -> bool:
        """Whether this process is about to end and takes nothing new."""
        return self.engine.is_draining

    async def submit(
        self,
        said: str | Sequence[Part],
        *,
        conversation: str | NewConversation | Branch,
        tenant: int = DEFAULT_TENANT,
        performer: str | None = None,
        options: RunOptions = _NO_OPTIONS,
    ) -> Ticket:
        """Say something in a conversation, a text or several parts; returns once it is kept.

        Raises :class:`~tertulia.errors.InvalidInput` for an empty or impossible message and for a
        key that is too long, and what :meth:`RunStore.accept` raises.
        """
        content = text_content(said) if isinstance(said, str) else tuple(said)
        _check_content(content)
        if options.idempotency_key is not None:
            check_key(options.idempotency_key)
        kept = options.kept()
        submission = Submission(
            tenant=tenant,
            conversation=_checked(conversation),
            run_id=ids.new_id(ids.RUN),
            message_id=ids.new_id(ids.MESSAGE),
            content=content,
            tokens=tokens_of(content),
            performer=performer or self._performer,
            options=kept,
            multitask=options.multitask,
            expected_head=options.expected_head,
            reopens=options.reopens,
            key=options.idempotency_key,
            request_hash=_digest(content, kept, conversation) if options.idempotency_key else b"",
        )
        return await self.engine.submit(submission)

    async def branch(
        self,
        conversation: str,
        at: int | None = None,
        *,
        tenant: int = DEFAULT_TENANT,
        alias: str | None = None,
        is_hidden: bool = False,
    ) -> Branch:
        """Return a branch to be made of a conversation, after message ``at`` or else its newest.

        It can be said something in (:meth:`submit`) or made as it is (:meth:`fork`). Raises
        ``NotFound``, and :class:`~tertulia.errors.InvalidInput` if there is no such message.
        """
        source = await self.store.conversations.get(tenant, conversation)
        at = source.head if at is None else at
        if not 0 <= at <= source.head:
            raise InvalidInput(f"a branch begins after message 0 to {source.head}: there are no others")
        if alias is not None:
            check_alias(alias)
        return Branch(
            source=source.id,
            at=at,
            tokens=await self._tokens_upto(source, at),
            id=ids.new_id(ids.CONVERSATION),
            alias=alias,
            is_hidden=is_hidden,
        )

    async def fork(
        self,
        conversation: str,
        *,
        at: int | None = None,
        tenant: int = DEFAULT_TENANT,
        alias: str | None = None,
        once: Once | None = None,
    ) -> Conversation:
        """Make a branch of a conversation; raises as :meth:`branch` and :meth:`ConversationStore.fork`.

        Without ``at``, a branch of this alias that is there already is returned, wherever it begins.
        """
        if alias is not None and at is None and once is None:
            with suppress(NotFound):
                there = await self.store.conversations.get(tenant, alias)
                source = await self.store.conversations.get(tenant, conversation)
                if there.parent_id == source.id:
                    return there
        branch = await self.branch(conversation, at, tenant=tenant, alias=alias)
        return await self.store.conversations.fork(tenant, branch, once=once)

    async def retry(self, run_id: str, *, tenant: int = DEFAULT_TENANT, once: Once | None = None) -> Ticket:
        """Begin a new run on the message of a failed one, as :meth:`Engine.retry` does."""
        return await self.engine.retry(tenant, run_id, once=once)

    async def cancel(self, run_id: str, *, tenant: int = DEFAULT_TENANT, keep_partial: bool = False) -> Run:
        """Have a run end as cancelled, as :meth:`Engine.cancel` does."""
        return await self.engine.cancel(tenant, run_id, keep_partial=keep_partial)

    async def decide(
        self,
        run_id: str,
        *,
        verdict: str,
        value: object = None,
        path: str | None = None,
        tenant: int = DEFAULT_TENANT,
    ) -> Ticket:
        """Let a waiting run go on, as :meth:`Engine.decide` does; ``path`` says what was decided about."""
        return await self.engine.decide(tenant, run_id, Decision(verdict=verdict, value=value, path=path))

    async def follow(
        self, run_id: str, *, tenant: int = DEFAULT_TENANT, after: int = -1
    ) -> AsyncGenerator[Numbered, None]:
        """Return the events of a run, wherever it is carried out, as :meth:`Engine.follow` does."""
        return await self.engine.follow(tenant, run_id, after=after)

    async def is_told(self, run_id: str, *, after: int, tenant: int = DEFAULT_TENANT) -> bool:
        """Whether a run has ended and has no event above ``after``; raises ``NotFound``."""
        return await self.engine.is_told(tenant, run_id, after=after)

    async def _tokens_upto(self, conversation: Conversation, at: int) -> int:
        """Return the estimated tokens of the first messages; only the shorter side is read."""
        if at * 2 <= conversation.head:
            return await self._tokens_between(conversation, 0, at)
        return conversation.tokens - await self._tokens_between(conversation, at, conversation.head)

    async def _tokens_between(self, conversation: Conversation, after: int, upto: int) -> int:
        total = 0
        while after < upto:
            limit = min(_PAGE, upto - after)
            page = await self.store.conversations.messages(
                conversation.tenant, conversation.id, after=after, limit=limit
            )
            if not page:
                break
            total += sum(tokens_of(message.content) for message in page)
            after = page[-1].number
        return total


def _check_content(content: Sequence[Part]) -> None:
    is_empty = True
    for part in content:
        match part:
            case Text(text=text):
                check_text(text, what="the message")
                is_empty = is_empty and not text.strip()
            case Media():
                for given in (part.media_type, part.base64, part.url, part.name):
                    check_text(given, what="the message")
                is_empty = False
            case _:
                raise InvalidInput("a message is made of texts and media; nothing else can be said")
    if is_empty:
        raise InvalidInput("the message is empty; say something")


def _checked(conversation: str | NewConversation | Branch) -> str | NewConversation | Branch:
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


def check_key(key: str) -> str:
    """Return an Idempotency-Key that is one; raises ``InvalidInput`` otherwise."""
    if not key or len(key) > MAX_KEY or not key.isprintable():
        raise InvalidInput(f"an Idempotency-Key must be 1 to {MAX_KEY} printable characters")
    return key


def _digest(
    content: Sequence[Part], kept: Mapping[str, object], conversation: str | NewConversation | Branch
) -> bytes:
    """Return what must be equal in two requests with one key; the conversation is the key's scope.

    Whether the answer is followed while it is spoken makes no other request of it.
    """
    said = [part.text if isinstance(part, Text) else encode_part(part) for part in content]
    apart = {name: value for name, value in kept.items() if name != "deltas"}
    asked: list[object] = [said[0] if len(said) == 1 else said, apart]
    if isinstance(conversation, Branch):
        asked.append(conversation.at)
    return sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).digest()
