"""Agents whose tools are not there, or not any more."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from typing_extensions import override

from tertulia import ids
from tertulia.agent.stored import PERFORMER, AgentPerformer
from tertulia.conversations import NewConversation
from tertulia.errors import ToolUnavailable
from tertulia.llms.scripted import Script, ScriptedLLM
from tertulia.parts import ToolCall, ToolResult
from tertulia.runtime import Runtime
from tertulia.stores.in_memory import InMemoryStore
from tertulia.tools.base import Tool, ToolSource
from tertulia.tools.functions import tool
from tertulia.tools.toolbox import Toolbox
from tests.turn.kitchen import DEFINITION, Kitchen, OneModel


@tool(is_idempotent=True)
def look() -> str:
    """Look."""
    return "seen"


@tool
def pay() -> str:
    """Pay."""
    return "paid"


class Server(ToolSource):
    """A server of tools that is there now and then, and has other tools now and then."""

    def __init__(self) -> None:
        self.has: Sequence[Tool] | None = [look, pay]

    @override
    async def tools(self) -> Sequence[Tool]:
        if self.has is None:
            raise ToolUnavailable("the server of tools is out of reach")
        return self.has

    @override
    async def close(self) -> None:
        pass


async def a_kitchen_with(server: Server, script: Script) -> Kitchen:
    llm, store = ScriptedLLM(script), InMemoryStore()
    toolbox = Toolbox(servers={"elsewhere": server})
    performer = AgentPerformer(store, OneModel(llm), context_tokens=4000, toolbox=toolbox)
    runtime = Runtime(store, {PERFORMER: performer})
    await runtime.start()
    definition = replace(DEFINITION, tools=("mcp:elsewhere",))
    agent = await store.agents.create(0, ids.new_id(ids.AGENT), definition)
    new = NewConversation(id=ids.new_id(ids.CONVERSATION), agent_id=agent.id)
    return Kitchen(llm, store, runtime, await store.conversations.create(0, new))


async def test_run_fails_where_tools_cannot_be_found_out_and_can_be_tried_again() -> None:
    server = Server()
    call = ToolCall(id="a", name="look", arguments="{}")
    kitchen = await a_kitchen_with(server, [call, "Seen.", "Again."])
    await kitchen.ask("Look.")

    server.has = None
    with pytest.raises(ToolUnavailable, match="out of reach") as failure:
        await kitchen.ask("And?")
    before = await kitchen.texts()
    server.has = [look]
    await (await kitchen.runtime.retry(failure.value.run_id or "")).finished()
    await kitchen.runtime.stop()

    assert before == ["Look.", "", "", "Seen.", "And?"]
    assert await kitchen.texts() == [*before, "Again."]
    assert len(kitchen.llm.prompts) == 3
    assert [shown["content"] for shown in kitchen.llm.prompts[-1][2:]] == [
        *("Look.", "", "seen", "Seen."),
        "And?",
    ]


async def test_tool_that_its_server_has_no_more_is_told_to_the_model() -> None:
    server = Server()
    calls = [ToolCall(id=name, name=name, arguments="{}") for name in ("look", "pay")]
    kitchen = await a_kitchen_with(server, [calls, "I see."])
    server.has = [look]

    finished = await kitchen.ask("Look and pay.")
    await kitchen.runtime.stop()

    results = [part for m in finished.messages for part in m.content if isinstance(part, ToolResult)]
    assert [(result.text, result.is_error) for result in results] == [
        ("seen", False),
        ("There is no tool of this name. The tools are: look.", True),
    ]
    assert [spec.name for spec in kitchen.llm.asked[0].tools] == ["look"]


async def test_agent_without_tools_is_told_that_there_are_none() -> None:
    server = Server()
    kitchen = await a_kitchen_with(server, [ToolCall(id="a", name="pay", arguments="{}"), "I see."])
    server.has = []

    finished = await kitchen.ask("Pay.")
    await kitchen.runtime.stop()

    [result] = [part for m in finished.messages for part in m.content if isinstance(part, ToolResult)]
    assert result.text == "There is no tool of this name. The tools are: none."
