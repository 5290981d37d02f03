"""Sessions as JSON: saved, signed for places that are not trusted, and restored."""

import hmac
import math
import time
import warnings
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NoBase64
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import orjson

from tertulia import ids
from tertulia.agent.hosting import Host
from tertulia.conversations import DEFAULT_TENANT, Conversation
from tertulia.errors import InvalidInput, NotAuthorized, NotFound, SessionMismatch, VersionMoved
from tertulia.memory.states import COPIED_SOURCE
from tertulia.memory.tokens import tokens_of
from tertulia.messages import Message, now_us
from tertulia.stores.base import Store, SupportsTaking, Taken
from tertulia.stores.states import VIEW_SOURCE

if TYPE_CHECKING:
    from tertulia.agent.agent import Agent
    from tertulia.agent.session import Session

VERSION: Final = 1
MOST_BYTES: Final = 1_000_000
"""Size of a signed session at most."""
_MOST_VERSIONS: Final = 2**53
LEAST_KEY: Final = 16
"""Bytes of a key to sign with at least."""


class ConfigurationChanged(UserWarning):
    """An agent is configured otherwise than when the session was saved that it goes on with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedSession:
    """What :func:`saved` told of a session that lives in the memory of a process."""

    messages: tuple[Message, ...]
    states: Mapping[str, str]
    first_message: str | None
    state: str | None
    closed: str | None
    version: int
    """States of views and services hold for this one."""

    @property
    def is_worth_storing(self) -> bool:
        """Whether there is anything in it that a new conversation has not."""
        return bool(self.messages or self.states or self.closed)

    def taken(self, session: "Session", agent_id: str) -> Taken:
        """Return the conversation to be put into the memory of this process."""
        row = Conversation(
            tenant=DEFAULT_TENANT,
            id=session.conversation_id,
            agent_id=agent_id,
            alias=session.alias,
            user_id=session.user,
            tokens=sum(tokens_of(message.content) for message in self.messages),
            lineage_id=session.conversation_id,
            first_message=self.first_message,
            state=self.state,
            closed=self.closed,
            version=self.version,
            created_at=now_us(),
        )
        return Taken(conversation=row, messages=self.messages, states=self.states)


def saved(session: "Session", host: Host) -> dict[str, Any]:
    """Return a session as JSON values; with all that was said if it lives in the memory of this process."""
    agent = session.agent
    told: dict[str, Any] = {
        "v": VERSION,
        "type": "tertulia.session",
        "id": session.id,
        "conversation_id": session.conversation_id,
        "agent": {"name": agent.name, "digest": agent.digest, "is_named": agent.is_named},
    }
    if session.user is not None:
        told["user"] = session.user
    if session.service_session_id is not None:
        told["service_session_id"] = session.service_session_id
    if host.memory is None:
        told["is_stored"] = session.is_begun and session.unsettled is None
    if session.unsettled is not None:
        told |= _content(session.unsettled, agent)
    elif host.memory is not None:
        told |= _content(_in_memory(session, host.memory), agent)
    return told


def restored(agent: "Agent", host: Host, given: Mapping[str, Any] | str, *, force: bool) -> "Session":
    """Return a session from what :func:`saved` told; see :meth:`Agent.restore_session`."""
    told = _checked(given)
    if not force:
        _check_agent(agent, told["agent"])
    try:
        session = agent.session_of(
            told["id"], conversation_id=told["conversation_id"], user=_text_or_none(told, "user")
        )
        session.is_begun = told.get("is_stored") is True
        if session.is_begun and host.memory is not None:
            raise SessionMismatch("this session is kept in a store; give the agent that store")
        if not session.is_begun:
            kept = _saved_session(told)
            session.unsettled = kept if host.memory is not None or kept.is_worth_storing else None
        session.told_service_id = _text_or_none(told, "service_session_id")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"this is no session as to_dict() tells it: {type(error).__name__}") from error
    return session


def put(memory: SupportsTaking, taken: Taken, messages: tuple[Message, ...]) -> None:
    """Put a conversation back into the memory of this process with other messages."""
    row = replace(taken.conversation, tokens=sum(tokens_of(message.content) for message in messages))
    states = {
        name: value
        for name, value in taken.states.items()
        if not name.startswith((COPIED_SOURCE, VIEW_SOURCE))
    }
    memory.put_in(Taken(conversation=row, messages=messages, states=states))


async def put_in_store(store: Store, made: Conversation, kept: SavedSession) -> None:
    """Put what was said in the memory of another process into a store, whose conversation is made already.

    What was said there since stays. The same once more changes nothing, so it may have broken off before.
    """
    conversations = store.conversations
    if made.head == 0:
        for source, value in kept.states.items():
            if not source.startswith((COPIED_SOURCE, VIEW_SOURCE)):
                with suppress(VersionMoved):  # another program was quicker
                    await store.states.put(DEFAULT_TENANT, made.id, source, value, expected_version=0)
        tokens = [tokens_of(message.content) for message in kept.messages]
        try:
            await conversations.append(DEFAULT_TENANT, made.id, kept.messages, tokens=tokens)
        except InvalidInput:  # they stand in the session that this was a branch of, which is there already
            renamed = _with_other_ids(kept.messages, of=made.id)
            await conversations.append(DEFAULT_TENANT, made.id, renamed, tokens=tokens)
    if kept.closed is not None and made.head <= len(kept.messages):  # nothing was said there since
        await conversations.set_closed(DEFAULT_TENANT, made.id, kept.closed)


def signed(
    told: Mapping[str, Any], key: bytes | str, *, expires_seconds: float | None, max_bytes: int
) -> str:
    """Return a saved session with a signature, as one text without line ends."""
    if expires_seconds is not None and not math.isfinite(expires_seconds):
        raise InvalidInput("the seconds after which a signed session expires are a finite number")
    until = None if expires_seconds is None else time.time() + expires_seconds
    payload = orjson.dumps({"session": told, "until": until})
    token = f"v{VERSION}.{_text(payload)}.{_text(_signature(payload, key))}"
    if len(payload) > MOST_BYTES or len(token) > max_bytes:
        raise InvalidInput(
            f"the session is too large to be given away ({len(token)} bytes, and at most {max_bytes} are "
            "wanted): keep it in a store, then it is small"
        )
    return token


def unsigned(token: str | None, key: bytes | str) -> dict[str, Any]:
    """Return the saved session that :func:`signed` was given.

    Raises :class:`~tertulia.errors.NotAuthorized` if the signature is another, or its time is over.
    """
    version, _, rest = (token if isinstance(token, str) else "").partition(".")
    encoded, _, signature = rest.partition(".")
    if version != f"v{VERSION}" or len(rest) > 2 * MOST_BYTES:
        raise NotAuthorized("this is no signed session")
    try:
        payload, given = _bytes(encoded), _bytes(signature)
    except (NoBase64, ValueError):
        raise NotAuthorized("this is no signed session") from None
    if not hmac.compare_digest(given, _signature(payload, key)):
        raise NotAuthorized("the session was signed with another key, or changed since")
    told = orjson.loads(payload)
    if told["until"] is not None and told["until"] < time.time():
        raise NotAuthorized("the signed session is too old; ask for a new one")
    found: dict[str, Any] = told["session"]
    return found


def _with_other_ids(messages: tuple[Message, ...], *, of: str) -> list[Message]:
    """Return messages with the ids that they have in this conversation only, the same each time."""
    digests = (sha256(f"{of} {message.id}".encode()).hexdigest() for message in messages)
    return [
        replace(message, id=f"{ids.MESSAGE}_{digest[:32]}")
        for message, digest in zip(messages, digests, strict=True)
    ]


def _content(kept: SavedSession, agent: "Agent") -> dict[str, Any]:
    told: dict[str, Any] = {}
    if agent.reads_log:
        told["messages"] = [message.to_dict() for message in kept.messages]
    states = {name: orjson.loads(value) for name, value in kept.states.items()}
    if not agent.reads_log:  # what the log was told counts only together with the log
        states = {name: value for name, value in states.items() if not name.startswith(COPIED_SOURCE)}
    given = {
        "states": states,
        "first_message": kept.first_message,
        "state": None if kept.state is None else orjson.loads(kept.state),
        "closed": kept.closed,
        "version": kept.version if kept.version > 1 else None,
    }
    return told | {name: value for name, value in given.items() if value}


def _in_memory(session: "Session", memory: SupportsTaking) -> SavedSession:
    try:
        taken = memory.take(DEFAULT_TENANT, session.conversation_id)
    except NotFound:
        return SavedSession(messages=(), states={}, first_message=None, state=None, closed=None, version=1)
    row = taken.conversation
    return SavedSession(
        messages=taken.messages,
        states=taken.states,
        first_message=row.first_message,
        state=row.state,
        closed=row.closed,
        version=row.version,
    )


def _saved_session(told: Mapping[str, Any]) -> SavedSession:
    state = told.get("state")
    return SavedSession(
        messages=tuple(Message.from_dict(each) for each in told.get("messages", ())),
        states={name: orjson.dumps(value).decode() for name, value in told.get("states", {}).items()},
        first_message=_text_or_none(told, "first_message"),
        state=None if state is None else orjson.dumps(state).decode(),
        closed=_text_or_none(told, "closed"),
        version=_version(told),
    )


def _text_or_none(told: Mapping[str, Any], name: str) -> str | None:
    found = told.get(name)
    if found is not None and not isinstance(found, str):
        raise TypeError(name)
    return found


def _version(told: Mapping[str, Any]) -> int:
    version = told.get("version", 1)
    if not isinstance(version, int) or not 1 <= version < _MOST_VERSIONS:
        raise TypeError("version")
    return version


def _checked(given: Mapping[str, Any] | str) -> Mapping[str, Any]:
    if isinstance(given, str):
        try:
            given = orjson.loads(given)
        except ValueError:
            raise InvalidInput("this is no session: it is no JSON") from None
    if not isinstance(given, Mapping) or given.get("type") != "tertulia.session":
        raise InvalidInput("this is no session as to_dict() tells it")
    if given.get("v") != VERSION:
        raise InvalidInput(f"this session was saved by another version ({given.get('v')}); update this one")
    if not isinstance(given.get("agent"), Mapping):
        raise InvalidInput("this session does not say which agent's it is")
    return given


def _check_agent(agent: "Agent", told: Mapping[str, Any]) -> None:
    if told.get("name") != agent.name:
        raise SessionMismatch(
            f"this session is one of the agent {str(told.get('name'))[:200]!r}, not of {agent.name!r}; "
            "restore it with that one, or with force=True"
        )
    if told.get("digest") == agent.digest:
        return
    if not (agent.is_named and told.get("is_named")):
        raise SessionMismatch(
            "this session is one of an agent with other instructions, tools or providers; give agents names "
            "that may change, or restore it with force=True"
        )
    warnings.warn(
        f"the agent {agent.name!r} is configured otherwise than when this session was saved",
        ConfigurationChanged,
        stacklevel=4,
    )


def _signature(payload: bytes, key: bytes | str) -> bytes:
    secret = key.encode() if isinstance(key, str) else key
    if not isinstance(secret, bytes) or len(secret) < LEAST_KEY:
        raise InvalidInput(f"a key to sign with has at least {LEAST_KEY} bytes, better 32 random ones")
    return hmac.new(secret, b"tertulia.session\n" + payload, sha256).digest()


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
