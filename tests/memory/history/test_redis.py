import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from typing_extensions import override
from valkey import Valkey as BlockingValkey
from valkey.asyncio import Valkey

from tertulia.errors import InvalidInput, MissingExtra, ProviderError
from tertulia.memory.history import RedisHistoryProvider
from tertulia.memory.history import redis as plug
from tertulia.memory.sessions import ProviderSession
from tertulia.messages import Message
from tertulia.parts import ToolCall, ToolResult
from tertulia.testing.history_contract import a_message, a_session, some_messages, what_counts
from tests.memory.history.test_trimming import calling, result
from tests.valkey import ValkeyServer

KEY = "tertulia:v1:{0:Chef:s1}"


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as own:
        yield own


@pytest.fixture
def url(server: ValkeyServer) -> str:
    server.say("FLUSHALL")
    return server.url


@pytest.fixture
async def client(url: str) -> AsyncIterator[Valkey]:
    """A client that is lent."""
    lent = Valkey.from_url(url)
    yield lent
    await lent.aclose()


@pytest.fixture
async def history(url: str) -> AsyncIterator[RedisHistoryProvider]:
    provider = RedisHistoryProvider(url)
    yield provider
    await provider.close()


def texts(messages: list[Message]) -> list[str]:
    return [message.text for message in messages]


async def test_key_names_tenant_agent_and_session(history: RedisHistoryProvider, client: Valkey) -> None:
    await history.append(a_session("a:b/c", agent="Köch", tenant=7), [a_message()])

    keys = sorted(key.decode() for key in await client.keys())

    assert keys == ["tertulia:v1:{7:K%C3%B6ch:a%3Ab%2Fc}", "tertulia:v1:{7:K%C3%B6ch:a%3Ab%2Fc}:ids"]


async def test_session_lives_on_with_each_append_and_not_with_reading(url: str, client: Valkey) -> None:
    history = RedisHistoryProvider(url, ttl_seconds=1000)
    await history.append(a_session(), [a_message()])
    first = [await client.ttl(key) for key in await client.keys()]
    for key in await client.keys():
        await client.expire(key, 500)

    await history.load(a_session())
    after_reading = [await client.ttl(key) for key in await client.keys()]
    await history.append(a_session(), [a_message()])
    after_append = [await client.ttl(key) for key in await client.keys()]
    await history.close()

    assert all(990 <= seconds <= 1000 for seconds in first + after_append)
    assert all(490 <= seconds <= 500 for seconds in after_reading)
    assert len(first) == len(after_append) == 2


async def test_session_without_time_to_live_stays(history: RedisHistoryProvider, client: Valkey) -> None:
    await history.append(a_session(), [a_message()])

    assert {await client.ttl(key) for key in await client.keys()} == {-1}


async def test_session_that_has_expired_begins_anew(history: RedisHistoryProvider, client: Valkey) -> None:
    said = some_messages(3)
    await history.append(a_session(), said)
    await client.delete(KEY)

    await history.append(a_session(), said[1:])

    assert what_counts(await history.load(a_session())) == said[1:]


async def test_ids_that_were_lost_are_found_again(history: RedisHistoryProvider, client: Valkey) -> None:
    said = some_messages(3)
    await history.append(a_session(), said[:2])
    await client.delete(f"{KEY}:ids")

    await history.append(a_session(), said)

    assert what_counts(await history.load(a_session())) == said


async def test_oldest_turns_go_when_there_are_too_many(url: str) -> None:
    history, said = RedisHistoryProvider(url, max_messages=4), some_messages(12)

    kept = []
    for place in range(0, 12, 2):
        await history.append(a_session(), said[place : place + 2])
        kept.append(len(await history.load(a_session())))
    loaded = await history.load(a_session())
    await history.close()

    assert kept == [2, 4, 4, 4, 4, 4]
    assert what_counts(loaded) == said[-4:]


async def test_what_is_kept_begins_with_a_user_and_may_be_more(url: str) -> None:
    history, said = RedisHistoryProvider(url, max_messages=3), some_messages(12)

    for place in range(0, 12, 2):
        await history.append(a_session(), said[place : place + 2])
    loaded = await history.load(a_session())
    await history.close()

    assert what_counts(loaded) == said[-4:]


async def test_trimming_keeps_calls_with_their_results(url: str) -> None:
    history = RedisHistoryProvider(url, max_messages=2)
    said = [a_message(), calling("a"), a_message("meanwhile"), result("a"), a_message(role="assistant")]

    for message in said:
        await history.append(a_session(), [message])
    before = await history.load(a_session())
    await history.append(a_session(), [a_message("next"), a_message(role="assistant")])
    after = await history.load(a_session())
    await history.close()

    assert what_counts(before) == said
    assert texts(after) == ["next", "hi"]


async def test_trimmed_history_never_parts_a_pair(url: str) -> None:
    history = RedisHistoryProvider(url, max_messages=5)

    for turn in range(15):
        said = [a_message(), calling(f"{turn % 2}"), result(f"{turn % 2}"), a_message(role="assistant")]
        for message in said:
            await history.append(a_session(), [message])
            loaded = await history.load(a_session())
            parts = [part for kept in loaded for part in kept.content]
            calls = [part.id for part in parts if isinstance(part, ToolCall)]
            results = [part.call_id for part in parts if isinstance(part, ToolResult)]
            assert calls[: len(results)] == results
            assert loaded[0].role == "user"
            assert min(5, turn * 4 + 1) <= len(loaded) <= 8
    await history.close()


async def test_what_was_trimmed_is_not_kept_again(url: str, client: Valkey) -> None:
    history, said = RedisHistoryProvider(url, max_messages=2), some_messages(8)
    for place in range(0, 8, 2):
        await history.append(a_session(), said[place : place + 2])

    await history.append(a_session(), said[:6])
    loaded = await history.load(a_session())
    await history.close()

    assert what_counts(loaded) == said[-2:]


async def test_ids_of_what_was_trimmed_are_not_kept_for_ever(
    url: str, client: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plug, "_REMEMBERED", 6)
    history = RedisHistoryProvider(url, max_messages=2)

    for _ in range(20):
        await history.append(a_session(), some_messages(2))
    count = await client.zcard(f"{KEY}:ids")
    await history.close()

    assert count == 8


async def test_bounded_history_takes_appends_at_the_same_time(url: str) -> None:
    histories = [RedisHistoryProvider(url, max_messages=10) for _ in range(2)]
    turns = [some_messages(2) for _ in range(30)]

    await asyncio.gather(
        *(each.append(a_session(), turn) for each, turn in zip(histories * 15, turns, strict=True))
    )
    await histories[0].append(a_session(), last := some_messages(2))
    loaded = what_counts(await histories[0].load(a_session()))
    for each in histories:
        await each.close()

    assert loaded[-2:] == last
    assert 10 <= len(loaded) <= 12
    assert all(loaded[place : place + 2] in [*turns, last] for place in range(0, len(loaded), 2))


async def test_beginning_stays_for_many_turns(url: str) -> None:
    history, said = RedisHistoryProvider(url, max_messages=40), some_messages(200)

    firsts, lengths = [], []
    for place in range(0, 200, 2):
        await history.append(a_session(), said[place : place + 2])
        loaded = await history.load(a_session())
        firsts.append(loaded[0].id)
        lengths.append(len(loaded))
    await history.close()

    assert [firsts.count(first) for first in dict.fromkeys(firsts)] == [25, *[6] * 12, 3]
    assert set(lengths[25:]) == set(range(40, 51, 2))


@pytest.mark.parametrize("number", ["5", 1.5, True, -1, 2**40, [3], float("inf")])
@pytest.mark.parametrize("name", ["ttl_seconds", "max_messages"])
def test_bounds_that_are_none_are_refused_at_once(url: str, name: str, number: Any) -> None:
    with pytest.raises(InvalidInput, match=f"{name} is a whole number"):
        RedisHistoryProvider(url, **{name: number})


async def test_user_stands_in_the_key(history: RedisHistoryProvider, client: Valkey) -> None:
    await history.append(a_session(user="ada:1"), [a_message()])

    assert await client.exists(f"{KEY[:-1]}:ada%3A1}}") == 1
    assert await client.exists(KEY) == 0


async def test_history_of_no_messages_keeps_nothing(url: str, client: Valkey) -> None:
    history = RedisHistoryProvider(url, max_messages=0)

    await history.append(a_session(), [a_message()])
    loaded = await history.load(a_session())
    await history.close()

    assert loaded == []
    assert await client.keys() == []


@pytest.mark.parametrize("decode_responses", [False, True])
async def test_client_that_was_lent_is_not_closed(url: str, decode_responses: bool) -> None:
    lent = Valkey.from_url(url, decode_responses=decode_responses)
    history, said = RedisHistoryProvider(client=lent, max_messages=2), some_messages(6)

    for place in range(0, 6, 2):
        await history.append(a_session(), said[place : place + 2])
    await history.close()

    assert what_counts(await history.load(a_session())) == said[-2:]
    assert await lent.ping()
    await lent.aclose()


@pytest.mark.parametrize("strange", ["hello", "[]", '{"role": "user", "content": "no id"}', '{"id": "x"}'])
async def test_what_cannot_be_read_is_not_left_out(
    history: RedisHistoryProvider, client: Valkey, strange: str
) -> None:
    await history.append(a_session(), [a_message()])
    pushed = client.rpush(KEY, strange)
    assert not isinstance(pushed, int)
    await pushed

    for work in (history.load(a_session()), history.recent(a_session(), limit=1)):
        with pytest.raises(ProviderError):
            await work


async def test_key_of_another_kind_is_a_failure_that_tells_nothing(
    history: RedisHistoryProvider, client: Valkey
) -> None:
    await client.set(KEY, json.dumps("secret"))

    for work in (
        history.load(a_session()),
        history.append(a_session(), [a_message("secret")]),
        history.forget(a_session(), ["secret"]),
    ):
        with pytest.raises(ProviderError) as raised:
            await work
        assert str(raised.value) == "the history in Redis failed: ResponseError"


async def test_server_that_is_down_is_a_failure_until_it_is_back() -> None:
    with ValkeyServer() as server:
        history, said = RedisHistoryProvider(server.url), some_messages(2)
        await history.append(a_session(), said)

        server.kill()
        for work in (history.load(a_session()), history.append(a_session(), [a_message("secret")])):
            with pytest.raises(ProviderError) as raised:
                await work
            assert str(raised.value) == "the history in Redis failed: ConnectionError"
        await asyncio.to_thread(server.start)
        await history.append(a_session(), said)

        assert what_counts(await history.load(a_session())) == said
        await history.close()


async def test_server_without_memory_keeps_all_of_an_append_or_nothing(
    history: RedisHistoryProvider, client: Valkey
) -> None:
    said = some_messages(2)
    await history.append(a_session(), said)
    await client.config_set("maxmemory", "1")

    with pytest.raises(ProviderError, match="OutOfMemory"):
        await history.append(a_session(), some_messages(3))
    await client.config_set("maxmemory", "0")

    assert what_counts(await history.load(a_session())) == said


async def test_it_wants_a_url_or_an_asyncio_client(url: str) -> None:
    lent = Valkey.from_url(url)

    with pytest.raises(InvalidInput, match="either a URL or a client"):
        RedisHistoryProvider()
    with pytest.raises(InvalidInput, match="either a URL or a client"):
        RedisHistoryProvider(url, client=lent)
    for wrong in (BlockingValkey.from_url(url), object()):
        with pytest.raises(InvalidInput, match=r"valkey\.asyncio"):
            RedisHistoryProvider(client=wrong)
    with pytest.raises(InvalidInput, match="names none"):
        RedisHistoryProvider("ftp://somewhere")
    with pytest.raises(InvalidInput, match="1 or more"):
        RedisHistoryProvider(url, ttl_seconds=0)
    with pytest.raises(InvalidInput, match="0 or more"):
        RedisHistoryProvider(url, max_messages=-1)
    await lent.aclose()


async def test_library_that_is_missing_is_named(
    url: str, client: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plug, "LIBRARY", "nowhere_to_be_found")

    with pytest.raises(MissingExtra, match=r"pip install tertulia\[redis\]"):
        RedisHistoryProvider(url)
    assert await RedisHistoryProvider(client=client).load(a_session()) == []


async def test_names_that_no_wire_can_carry_are_refused(history: RedisHistoryProvider) -> None:
    for session in (a_session("\ud800"), a_session(agent="a\x00")):
        with pytest.raises(InvalidInput):
            await history.load(session)


async def test_what_was_forgotten_leaves_only_its_id(
    history: RedisHistoryProvider, client: Valkey, server: ValkeyServer
) -> None:
    said = [a_message("kept"), a_message("secret")]
    await history.append(a_session(), said)

    await history.forget(a_session(), [said[1].id])

    keys = sorted(key.decode() for key in await client.keys())
    dumped = [await client.dump(key) or b"" for key in keys]
    assert keys == [KEY, f"{KEY}:forgotten", f"{KEY}:ids"]
    assert not any(b"secret" in each for each in dumped)
    assert said[1].id in server.say("SMEMBERS", f"{KEY}:forgotten")


async def test_what_was_forgotten_before_it_came_does_not_come(history: RedisHistoryProvider) -> None:
    said = some_messages(3)

    await history.forget(a_session(), [said[1].id])
    await history.append(a_session(), said)

    assert what_counts(await history.load(a_session())) == [said[0], said[2]]


@pytest.mark.parametrize("ident", ["Ğüneş 中文", 'a"b\\c', "a b", "x" * 300, "-"])
async def test_message_with_any_id_can_be_forgotten(history: RedisHistoryProvider, ident: str) -> None:
    said = [replace(a_message(), id=ident), a_message(ident), replace(a_message(), id=f"{ident}!")]
    await history.append(a_session(), said)

    await history.forget(a_session(), [ident])

    assert what_counts(await history.load(a_session())) == said[1:]


async def test_forgetting_does_not_prolong_a_session(url: str, client: Valkey) -> None:
    history, said = RedisHistoryProvider(url, ttl_seconds=1000), some_messages(2)
    await history.append(a_session(), said)
    for key in await client.keys():
        await client.expire(key, 500)

    await history.forget(a_session(), [said[0].id])
    after = {name: await client.ttl(f"{KEY}{name}") for name in ("", ":ids", ":forgotten")}
    await history.append(a_session(), [a_message()])
    with_append = [await client.ttl(key) for key in await client.keys()]
    await history.close()

    assert all(490 <= after[name] <= 500 for name in ("", ":ids"))
    assert 990 <= after[":forgotten"] <= 1000
    assert all(990 <= seconds <= 1000 for seconds in with_append)
    assert len(with_append) == 3


async def test_what_was_forgotten_stays_away_however_much_is_trimmed(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plug, "_REMEMBERED", 2)
    history, said = RedisHistoryProvider(url, max_messages=4), some_messages(20)
    await history.append(a_session(), said[:4])

    await history.forget(a_session(), [said[1].id])
    for place in range(4, 20, 2):
        await history.append(a_session(), said[place : place + 2])
    await history.append(a_session(), [said[1]])
    loaded = await history.load(a_session())
    await history.close()

    assert what_counts(loaded) == said[-4:]


async def test_nothing_more_goes_where_something_is_forgotten_while_it_is_trimmed(
    url: str, client: Valkey
) -> None:
    class Late(RedisHistoryProvider):
        """Has something forgotten when it knows what is to be trimmed."""

        @override
        async def _cut(self, session: ProviderSession, front: Sequence[bytes | str], *, place: int) -> None:
            await RedisHistoryProvider(client=client).forget(session, [said[2].id])
            await super()._cut(session, front, place=place)

    history, said = Late(url, max_messages=4), some_messages(8)

    await history.append(a_session(), said)
    loaded = await history.load(a_session())
    await history.close()

    assert what_counts(loaded) == [*said[:2], *said[3:]]


async def test_server_without_memory_forgets_all_the_same(
    history: RedisHistoryProvider, client: Valkey
) -> None:
    said = some_messages(3)
    await history.append(a_session(), said)
    await client.config_set("maxmemory", "1")

    await history.forget(a_session(), [said[1].id])
    await client.config_set("maxmemory", "0")
    await history.append(a_session(), said)

    assert what_counts(await history.load(a_session())) == [said[0], said[2]]


async def test_server_that_is_down_forgets_when_it_is_back() -> None:
    with ValkeyServer() as server:
        history, said = RedisHistoryProvider(server.url), some_messages(2)
        await history.append(a_session(), said)
        server.say("SAVE")

        server.kill()
        with pytest.raises(ProviderError, match="the history in Redis failed: ConnectionError"):
            await history.forget(a_session(), [said[0].id])
        await asyncio.to_thread(server.start)
        await history.forget(a_session(), [said[0].id])

        assert what_counts(await history.load(a_session())) == said[1:]
        await history.close()


async def test_what_cannot_be_read_leaves_everything_unforgotten(
    history: RedisHistoryProvider, client: Valkey
) -> None:
    said = some_messages(2)
    await history.append(a_session(), said)
    pushed = client.rpush(KEY, "hello")
    assert not isinstance(pushed, int)
    await pushed
    before = await client.dump(KEY)

    with pytest.raises(ProviderError):
        await history.forget(a_session(), [said[0].id])

    assert await client.dump(KEY) == before
    assert await client.exists(f"{KEY}:forgotten") == 0
