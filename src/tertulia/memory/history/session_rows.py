"""Sessions as conversations of a store: found, made, and told apart by their users."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import Final

from tertulia.conversations import Conversation, NewConversation
from tertulia.definitions import AgentDefinition, StoredAgent
from tertulia.errors import DuplicateName, NotFound, ProviderError, SessionMismatch, VersionMoved
from tertulia.ids import AGENT, CONVERSATION, MESSAGE, is_id, new_id, to_bytes
from tertulia.memory.sessions import ProviderSession
from tertulia.messages import Message
from tertulia.stores import Store

_SHARES: Final = "history:shares"
"""The source under which it stands that a conversation has its messages under ids of its own."""
_TAKEN: Final = "the session's id names a conversation of somebody else"


async def find(store: Store, session: ProviderSession) -> Conversation | None:
    """Return the conversation that a session is; None if there is none yet."""
    try:
        agent = await store.agents.get(session.tenant, session.agent)
    except NotFound:
        return None
    for name in _names(session, agent):
        with suppress(NotFound):
            found = await store.conversations.get(session.tenant, name)
            if _is_its(found, session, agent):
                return found
    return None


async def make(store: Store, session: ProviderSession) -> Conversation:
    """Return the conversation that a session is, made now, or just before by somebody else."""
    agent = await _agent(store, session)
    for name in _names(session, agent):
        with suppress(SessionMismatch):
            made = await store.conversations.create(session.tenant, _new(session, agent, name))
            if _is_its(made, session, agent):
                return made
    raise ProviderError(_TAKEN)


async def shares(store: Store, found: Conversation) -> bool:
    """Whether a conversation has its messages under ids of its own: they stand in another one as well."""
    return await store.states.get(found.tenant, found.id, _SHARES) is not None


async def have_share(store: Store, found: Conversation) -> None:
    """Note for good that a conversation, which is empty, has its messages under ids of its own."""
    with suppress(VersionMoved):  # somebody else has noted it just now
        await store.states.put(found.tenant, found.id, _SHARES, "true", expected_version=0)


def aliased(messages: Sequence[Message], *, within: Conversation) -> list[Message]:
    """Return messages under the ids that they have in such a conversation only.

    Done twice, it gives the ids that they had.
    """
    return [replace(each, id=alias_of(each.id, within=within)) for each in messages]


def alias_of(ident: str, *, within: Conversation) -> str:
    """Return the id that a message has in such a conversation only; of that one, the message's own."""
    mask = sha256(f"{_SHARES} {within.id}".encode()).digest()
    digits = bytes(one ^ other for one, other in zip(to_bytes(ident), mask, strict=False))
    return f"{MESSAGE}_{digits.hex()}"


async def _agent(store: Store, session: ProviderSession) -> StoredAgent:
    try:
        return await store.agents.get(session.tenant, session.agent)
    except NotFound:
        definition = AgentDefinition(name=session.agent).checked()
    try:
        return await store.agents.create(session.tenant, new_id(AGENT), definition)
    except DuplicateName:
        return await store.agents.get(session.tenant, session.agent)


def _new(session: ProviderSession, agent: StoredAgent, name: str) -> NewConversation:
    is_ours = is_id(name, prefix=CONVERSATION)
    return NewConversation(
        id=name if is_ours else new_id(CONVERSATION),
        agent_id=agent.id,
        alias=None if is_ours else name,
        user_id=session.user,
    )


def _is_its(found: Conversation, session: ProviderSession, agent: StoredAgent) -> bool:
    return (found.agent_id, found.user_id) == (agent.id, session.user)


def _names(session: ProviderSession, agent: StoredAgent) -> list[str]:
    """Return what a session's conversation may be called, what is tried first in front."""
    names = [session.id, f"{agent.id}/{session.id}"]
    # Whoever was first has the plain ones, whether he is a user or nobody.
    whose = "" if session.user is None else sha256(session.user.encode()).hexdigest()[:32]
    return [*names, f"{agent.id}@{whose}/{session.id}"]
