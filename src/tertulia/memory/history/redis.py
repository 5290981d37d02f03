"""History in Redis or Valkey: a list of messages for each session, which may be bounded and may expire."""

import asyncio
from collections.abc import Awaitable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from typing_extensions import override

from tertulia.errors import InvalidInput, MissingExtra, ProviderError
from tertulia.memory.history.base import HistoryProvider
from tertulia.memory.history.encoding import decode, encode
from tertulia.memory.history.trimming import beginning_of, has_open_calls
from tertulia.memory.sessions import ProviderSession
from tertulia.messages import Message, check_text
from tertulia.per_loop import PerLoop
from tertulia.registry import load

_Client: TypeAlias = Any
"""An asyncio client; its library need not be there, and so has no types here."""

LIBRARY: Final = "valkey"
_FAMILIES: Final = {"valkey": "ValkeyError", "redis": "RedisError"}
"""Libraries whose clients can be lent, and what all their errors are."""
_SECONDS: Final = 5.0
"""How long to wait for a connection, or for an answer."""
_SLACK: Final = 4
"""What part of ``max_messages`` there may be more before anything is trimmed."""
_GREATEST: Final = 2**31 - 1
_REMEMBERED: Final = 1000
"""How many ids of messages that were trimmed are still known, so that they are not kept again."""

_APPEND: Final = """
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[2])
elseif redis.call('EXISTS', KEYS[2]) == 0 then
  for place, kept in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
    redis.call('ZADD', KEYS[2], place, cjson.decode(kept).id)
  end
end
local newest = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
local place = newest[2] and tonumber(newest[2]) or 0
local forgets = redis.call('EXISTS', KEYS[3]) == 1
for i = 2, #ARGV, 2 do
  local gone = forgets and redis.call('SISMEMBER', KEYS[3], ARGV[i]) == 1
  if not gone and redis.call('ZADD', KEYS[2], 'NX', place + 1, ARGV[i]) == 1 then
    redis.call('RPUSH', KEYS[1], ARGV[i + 1])
    place = place + 1
  end
end
if tonumber(ARGV[1]) > 0 then
  redis.call('EXPIRE', KEYS[1], ARGV[1])
  redis.call('EXPIRE', KEYS[2], ARGV[1])
  redis.call('EXPIRE', KEYS[3], ARGV[1])
end
return redis.call('LLEN', KEYS[1])
"""
# Nothing is trimmed if somebody else was quicker, or has had something forgotten: then other messages
# stand at the beginning of the list, or where it is to begin, or too few would stay.
_TRIM: Final = """
if redis.call('LINDEX', KEYS[1], 0) ~= ARGV[1] then return 0 end
if redis.call('LINDEX', KEYS[1], ARGV[2]) ~= ARGV[3] then return 0 end
if redis.call('LLEN', KEYS[1]) - tonumber(ARGV[2]) < tonumber(ARGV[5]) then return 0 end
redis.call('LTRIM', KEYS[1], ARGV[2], -1)
local over = redis.call('ZCARD', KEYS[2]) - redis.call('LLEN', KEYS[1]) - tonumber(ARGV[4])
if over > 0 then redis.call('ZREMRANGEBYRANK', KEYS[2], 0, over - 1) end
return 1
"""
# What is to go is found before anything is written, so that what cannot be read leaves all as it was,
# and goes before its ids are kept, which a server without memory refuses to begin with. These stand in
# a set of their own, which trimming does not touch and which is there for an empty list as well.
_FORGET: Final = """
local gone, texts = {}, {}
for i = 2, #ARGV do gone[ARGV[i]] = true end
for _, kept in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  local id = string.match(kept, '^{"id":"([%w_-]+)"') or cjson.decode(kept).id
  if gone[id] then texts[#texts + 1] = kept end
end
for _, text in ipairs(texts) do redis.call('LREM', KEYS[1], 1, text) end
for i = 2, #ARGV do redis.call('SADD', KEYS[3], ARGV[i]) end
if tonumber(ARGV[1]) > 0 then redis.call('EXPIRE', KEYS[3], ARGV[1]) end
return #texts
"""


class RedisHistoryProvider(HistoryProvider):
    """Keeps each session as a list of JSON texts under ``prefix:v1:{tenant:agent:session}``.

    The key of a user's session is ``prefix:v1:{tenant:agent:session:user}``. The parts are
    percent-encoded, so that no two sessions share one; what stands in braces keeps a session in one slot
    of a cluster. Give it the URL of a server, or lend it an asyncio client of the packages ``valkey`` or
    ``redis``, which it does not close.

    ``ttl_seconds`` is how long a session lives after the last append; reading does not prolong it.

    ``max_messages`` bounds what is kept: when an append has made it a quarter more than that, the oldest
    messages go as long as that many stay. So the beginning stays for many turns, and with it the prompt's
    that a model's service has in its cache. What stays begins with a user's message and has every call
    of a tool whose result it has: it is more where that many would begin in the middle of a turn, and
    everything if no place to begin is found; that a reader sees more for a moment is possible as well.
    0 keeps nothing at all.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        client: _Client = None,
        prefix: str = "tertulia",
        ttl_seconds: int | None = None,
        max_messages: int | None = None,
    ) -> None:
        if (url is None) == (client is None):
            raise InvalidInput("a history in Redis needs either a URL or a client")
        self._ttl = _whole_number(ttl_seconds, "ttl_seconds", least=1) or 0
        self._most = _whole_number(max_messages, "max_messages", least=0)
        self._prefix = prefix
        self._lent = client
        self._errors = _errors_of(_family_of(client) if url is None else _library())
        self._clients: PerLoop[_Client] = PerLoop(lambda: _client_of(url or ""))
        if url is not None:
            _client_of(url)  # so that a URL that cannot be right is known at once

    @override
    async def load(self, session: ProviderSession) -> list[Message]:
        return await self._range(session, 0)

    async def recent(self, session: ProviderSession, *, limit: int) -> list[Message]:
        """Return the newest ``limit`` messages of a session, oldest of them first."""
        return await self._range(session, -limit) if limit > 0 else []

    @override
    async def append(self, session: ProviderSession, messages: Sequence[Message]) -> None:
        if self._most == 0 or not messages:
            return
        said = [text for message in messages for text in (_id_of(message), encode(message))]
        keys = self._keys(session)
        with self._told():
            length = int(await self._client().eval(_APPEND, len(keys), *keys, self._ttl, *said))
        if self._most is not None and length > self._most + self._most // _SLACK:
            await self._trim(session, excess=length - self._most)

    async def forget(self, session: ProviderSession, ids: Collection[str]) -> None:
        """Erase messages of a session, all at once; that does not prolong the session's life.

        What was trimmed, or has not come yet, stays away as well.
        """
        gone = [check_text(ident, what="the id of a message") for ident in ids]
        if not gone:
            return
        keys = self._keys(session)
        with self._told():
            await self._client().eval(_FORGET, len(keys), *keys, self._ttl, *gone)

    @override
    async def close(self) -> None:
        here = asyncio.get_running_loop()
        for loop, client in self._clients.take_all():
            if loop is here:
                await client.aclose()
            elif not loop.is_closed():
                # What belongs to another loop is closed there; if that is just ending, with it.
                with suppress(RuntimeError):
                    asyncio.run_coroutine_threadsafe(client.aclose(), loop)

    async def _trim(self, session: ProviderSession, *, excess: int) -> None:
        """Take away what is too much, as far as that parts nothing."""
        keys = self._keys(session)
        with self._told():
            front = await self._client().lrange(keys[0], 0, excess)
        messages = [decode(kept) for kept in front]
        if has_open_calls(messages):
            messages = await self._range(session, 0)
        if place := beginning_of(messages, upto=min(excess, len(front) - 1)):
            await self._cut(session, front, place=place)

    async def _cut(self, session: ProviderSession, front: Sequence[bytes | str], *, place: int) -> None:
        """Have the list begin at this place, if it still begins with what was read of it."""
        keys = self._keys(session)
        with self._told():
            first = (front[0], place, front[place])
            await self._client().eval(_TRIM, len(keys), *keys, *first, _REMEMBERED, self._most)

    async def _range(self, session: ProviderSession, first: int) -> list[Message]:
        with self._told():
            found: Awaitable[list[bytes | str]] = self._client().lrange(self._keys(session)[0], first, -1)
            texts = await found
        return [decode(text) for text in texts]

    def _keys(self, session: ProviderSession) -> tuple[str, str, str]:
        """Return the keys of a session: its messages, their ids, and the ids of what was forgotten."""
        parts = [str(session.tenant), session.agent, session.id]
        if session.user is not None:
            parts.append(session.user)
        encoded = ":".join(quote(check_text(part, what="the name of a session"), safe="") for part in parts)
        key = f"{self._prefix}:v1:{{{encoded}}}"
        return key, f"{key}:ids", f"{key}:forgotten"

    def _client(self) -> _Client:
        return self._lent if self._lent is not None else self._clients.get()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Raise what the library raises as our own; its text may hold what was said, so it is left out."""
        try:
            yield
        except self._errors as error:
            raise ProviderError(f"the history in Redis failed: {type(error).__name__}") from error


def _whole_number(given: object, name: str, *, least: int) -> int | None:
    """Return what was given; raises :class:`InvalidInput` if it is neither a whole number nor nothing."""
    if given is None:
        return None
    if not isinstance(given, int) or isinstance(given, bool) or not least <= given <= _GREATEST:
        raise InvalidInput(f"{name} is a whole number, {least} or more, or None")
    return given


def _id_of(message: Message) -> str:
    return check_text(message.id, what="the id of a message")


def _library() -> str:
    if find_spec(LIBRARY) is None:
        raise MissingExtra("a history in Redis needs a library: pip install tertulia[redis]")
    return LIBRARY


def _family_of(client: _Client) -> str:
    """Return the library that a client comes from."""
    for kind in type(client).__mro__:
        library, _, rest = kind.__module__.partition(".")
        if library in _FAMILIES and rest.startswith("asyncio"):
            return library
    raise InvalidInput("the client must be one of valkey.asyncio or redis.asyncio")


def _errors_of(library: str) -> tuple[type[Exception], ...]:
    return load(f"{library}.exceptions:{_FAMILIES[library]}"), OSError


def _client_of(url: str) -> _Client:
    try:
        return load(f"{LIBRARY}.asyncio:Valkey").from_url(
            url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS
        )
    except ValueError as error:
        raise InvalidInput("the URL of Redis names none: redis://user:password@host:6379/0") from error
