"""What is sent of a conversation begins, byte for byte, with what was sent before, from whatever process."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Final

import pytest

from tertulia import ids
from tertulia.agent.stored import PERFORMER, AgentPerformer
from tertulia.conversations import Conversation, NewConversation
from tertulia.errors import ModelError
from tertulia.llms.openai_chat import OpenAIChat
from tertulia.parts import Media, Part, Text, ToolCall
from tertulia.runtime import Runtime
from tertulia.stores import Store, open_store
from tertulia.testing.fake_openai import FakeOpenAI, Said
from tertulia.testing.faults import Fault
from tertulia.tools.functions import tool
from tertulia.tools.toolbox import Toolbox
from tests.turn.kitchen import DEFINITION, OneModel

PIXEL: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
_BEGINS: Final = b'"messages":['


@tool(is_idempotent=True)
def add(one: int) -> str:
    """Add; négligé."""
    return f"{one} «ä» \U0001f600"


def a_call(ident: str) -> ToolCall:
    return ToolCall(id=ident, name="add", arguments=json.dumps({"one": 1}))


@asynccontextmanager
async def a_process(url: str, server: FakeOpenAI) -> AsyncIterator[Runtime]:
    """A process of its own on this database, whose agents speak through the server."""
    store = open_store(url)
    llm = OpenAIChat("m", base_url=server.base_url)
    performer = AgentPerformer(store, OneModel(llm), context_tokens=16_000, toolbox=Toolbox([add]))
    runtime = Runtime(store, {PERFORMER: performer})
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.stop()
        await llm.close()


async def _conversation(store: Store) -> Conversation:
    agent = await store.agents.create(0, ids.new_id(ids.AGENT), replace(DEFINITION, tools=("add",)))
    new = NewConversation(id=ids.new_id(ids.CONVERSATION), agent_id=agent.id)
    return await store.conversations.create(0, new)


async def _say(runtime: Runtime, row: Conversation, said: str | list[Part]) -> None:
    await (await runtime.submit(said, conversation=row.id)).finished()


def _sent(server: FakeOpenAI) -> list[bytes]:
    """Return the messages of each call as they were sent, without the bracket that ends them."""
    found = []
    for body, request in zip(server._bodies, server.requests, strict=True):
        rest = body.partition(_BEGINS)[2]
        # The array ends where its own text is decoded to just these messages.
        text = rest.decode()
        _, end = json.JSONDecoder().raw_decode(f"[{text}")
        found.append(text[: end - 2].encode())
        assert json.loads(f"[{text[: end - 2]}]") == request["messages"]
    return found


async def test_every_prompt_begins_with_the_one_before_it_whatever_was_said(sqlite_url: str) -> None:
    image = Media(kind="image", media_type="image/png", base64=PIXEL)
    async with FakeOpenAI() as server:
        calls = Said(text="Let me see.", calls=(a_call("a"), replace(a_call("b"), arguments='{"one": ')))
        server.script([calls, [a_call("a")], "Three.", "A pixel.", [a_call("a")], "Again.", "Bye."])
        async with a_process(sqlite_url, server) as first:
            row = await _conversation(first.store)
            await _say(first, row, "1 + 2, «ü»?")
            await _say(first, row, [Text(text="What is this?"), image])
        async with a_process(sqlite_url, server) as second:
            await _say(second, row, "Add.")
            await _say(second, row, "Goodbye.")
        sent, count = _sent(server), len(server.requests)

    assert count == 7
    for before, after in pairwise(sent):
        assert after.startswith(before)
        assert len(after) > len(before)


async def test_fresh_process_sends_the_very_bytes_that_the_one_before_it_has_sent(sqlite_url: str) -> None:
    async with FakeOpenAI() as server:
        server.script([[a_call("a"), a_call("b")], "Two.", Fault(kind="500"), "Here."])
        async with a_process(sqlite_url, server) as old:
            row = await _conversation(old.store)
            await _say(old, row, "Add twice.")
            with pytest.raises(ModelError) as failed:
                await _say(old, row, "And again.")
        async with a_process(sqlite_url, server) as fresh:
            await (await fresh.retry(failed.value.run_id or "")).finished()
        sent = _sent(server)

    assert sent[3] == sent[2]
    assert sent[2].startswith(sent[1])


async def test_processes_that_take_turns_send_what_each_alone_would_send(sqlite_url: str) -> None:
    async with FakeOpenAI() as server:
        server.script([[a_call("a")], "One.", [a_call("a")], "Two.", [a_call("a")], "Three.", "Four."])
        async with a_process(sqlite_url, server) as one, a_process(sqlite_url, server) as other:
            row = await _conversation(one.store)
            for place, runtime in enumerate((one, other, one, other)):
                await _say(runtime, row, f"Turn {place}.")
        sent = _sent(server)

    assert len(sent) == 7
    assert all(after.startswith(before) for before, after in pairwise(sent))
