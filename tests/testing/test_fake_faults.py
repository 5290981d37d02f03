"""The fake model server commits every fault on every wire, and is well again afterwards."""

import asyncio
from typing import Any

import aiohttp
import pytest

from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.faults import KINDS

BODIES: dict[str, dict[str, object]] = {
    "chat/completions": {"model": "m", "messages": [{"role": "user", "content": "hello"}]},
    "responses": {"model": "m", "input": "hello"},
    "completions": {"model": "m", "prompt": "hello"},
}
SAYING = {
    "chat/completions": '"delta":{"content":"',
    "responses": "response.output_text.delta\n",
    "completions": '"finish_reason":null',
}
"""What stands in every event that brings a word."""

each_path = pytest.mark.parametrize("path", list(BODIES))


async def heard(http: aiohttp.ClientSession, fake: FakeOpenAI, path: str, **more: object) -> bytes:
    """Return what comes of a call before the connection is lost or all is said."""
    body = b""
    try:
        async with http.post(f"{fake.base_url}/{path}", json=BODIES[path] | more) as reply:
            async for piece in reply.content.iter_any():
                body += piece
    except aiohttp.ClientError:
        pass
    return body


def words(path: str, body: bytes) -> int:
    """Count the events that bring a word."""
    return body.decode().count(SAYING[path])


async def text_of(http: aiohttp.ClientSession, fake: FakeOpenAI, path: str) -> str:
    """Return the text of a whole answer."""
    async with http.post(f"{fake.base_url}/{path}", json=BODIES[path]) as reply:
        answer: Any = await reply.json()
    if path == "responses":
        return str(answer["output"][0]["content"][0]["text"])
    choice = answer["choices"][0]
    return str(choice["message"]["content"] if "message" in choice else choice["text"])


@each_path
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", sorted(KINDS - {"hang", "stall"}))
async def test_every_fault_leaves_the_server_well(
    fake: FakeOpenAI, http: aiohttp.ClientSession, kind: str, stream: bool, path: str
) -> None:
    fake.fault(kind, seconds=0, size=100_000)

    await heard(http, fake, path, stream=stream)

    assert (await text_of(http, fake, path)).startswith("m=0 ")
    assert (fake.open, fake.aborted) == (0, 0)


@each_path
@pytest.mark.parametrize("tokens", [0, 1, 7])
async def test_stream_is_cut_after_so_many_words(
    fake: FakeOpenAI, http: aiohttp.ClientSession, path: str, tokens: int
) -> None:
    fake.fault("cut", tokens=tokens)

    body = await heard(http, fake, path, stream=True)

    assert words(path, body) == tokens
    assert b"[DONE]" not in body
    assert b"response.completed" not in body


@each_path
@pytest.mark.parametrize("kind", ["hang", "stall"])
async def test_endless_calls_end_with_their_connection(
    fake: FakeOpenAI, http: aiohttp.ClientSession, path: str, kind: str
) -> None:
    fake.fault(kind, tokens=2)
    call = asyncio.create_task(heard(http, fake, path, stream=True))
    while not fake.open:  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0)

    call.cancel()
    while fake.open:  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0)

    assert fake.aborted == 1


@each_path
async def test_answer_may_be_huge(fake: FakeOpenAI, http: aiohttp.ClientSession, path: str) -> None:
    fake.fault("huge", times=2, size=300_000)

    assert len(await text_of(http, fake, path)) == 300_000
    assert words(path, await heard(http, fake, path, stream=True)) == 5


@each_path
async def test_answer_may_come_in_single_bytes(
    fake: FakeOpenAI, http: aiohttp.ClientSession, path: str
) -> None:
    fake.fault("drip", seconds=0)

    assert (await text_of(http, fake, path)).startswith("m=0 ")


@each_path
@pytest.mark.parametrize(("kind", "bytes_"), [("bad-utf8", b"half a letter: \xc3"), ("nul", b"nul \\u0000")])
async def test_text_may_hold_what_no_encoder_writes(
    fake: FakeOpenAI, http: aiohttp.ClientSession, path: str, kind: str, bytes_: bytes
) -> None:
    fake.fault(kind, times=2)

    for stream in (True, False):
        assert bytes_ in await heard(http, fake, path, stream=stream)


@each_path
async def test_answer_comes_in_one_piece_although_a_stream_was_asked_for(
    fake: FakeOpenAI, http: aiohttp.ClientSession, path: str
) -> None:
    fake.fault("plain")

    assert (await heard(http, fake, path, stream=True)).startswith(b"{")


async def test_everything_kept_may_go_before_a_call(fake: FakeOpenAI, http: aiohttp.ClientSession) -> None:
    async with http.post(f"{fake.base_url}/responses", json=BODIES["responses"]) as reply:
        first = (await reply.json())["id"]
    fake.fault("gone")

    body = await heard(http, fake, "responses", previous_response_id=first)

    assert b"previous_response_not_found" in body


async def test_fault_of_the_script_is_what_comes_next(fake: FakeOpenAI, http: aiohttp.ClientSession) -> None:
    fake.script([ValueError("any"), "then this"])

    assert b"server_error" in await heard(http, fake, "responses")
    assert await text_of(http, fake, "responses") == "then this"
    assert fake.faulted == 1


async def test_words_come_at_their_pace(fake: FakeOpenAI, http: aiohttp.ClientSession) -> None:
    fake.tps, fake.reply_chars, fake.chunk_chars = 10_000, 40, 10

    for path in BODIES:
        assert words(path, await heard(http, fake, path, stream=True)) == 4
        assert len(await text_of(http, fake, path)) == 40
