"""The embedded model's server as it is asked, where it does not answer as it should."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tertulia.errors import ContextTooLong, ModelError, ModelMalformed, ModelUnreachable
from tertulia.llms.base import Prompt, Shown
from tertulia.llms.local_chat import LocalChat
from tertulia.testing.llm_contract import heard

SHAPED = Prompt(messages=(Shown(role="user", text="Hi"),), response_schema={"type": "boolean"})


@asynccontextmanager
async def answering(status: int, body: bytes) -> AsyncIterator[LocalChat]:
    """Have a server that answers everything with this, and a model behind it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        llm = LocalChat("small", base_url=f"http://127.0.0.1:{port}/v1", keep_alive_seconds=0)
        yield llm
        await llm.close()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, b"no JSON", ModelMalformed),
        (200, b"[]", ModelMalformed),
        (200, b'{"input_tokens": "many"}', ModelMalformed),
        (500, b"{}", ModelUnreachable),
        (400, b'{"error": {"type": "exceed_context_size_error"}}', ContextTooLong),
    ],
)
async def test_prompt_that_is_not_counted_is_an_error_of_ours(
    status: int, body: bytes, error: type[ModelError]
) -> None:
    async with answering(status, body) as llm:
        with pytest.raises(error):
            await heard(llm, SHAPED)


async def test_window_that_is_full_is_told_before_anything_is_said() -> None:
    async with answering(200, b'{"input_tokens": 2046}') as llm:
        with pytest.raises(ContextTooLong, match="no room"):
            await heard(llm, SHAPED)
