"""What a context provider gives that no model can be shown: its own failure, and never that of the run."""

from typing import Any

import pytest
from typing_extensions import override

from tertulia import Agent, RunContext
from tertulia.definitions import ToolSpec
from tertulia.ids import MESSAGE, new_id
from tertulia.llms.scripted import ScriptedLLM
from tertulia.memory.context.given import checked_context
from tertulia.memory.sessions import ProviderRun
from tertulia.messages import Message
from tertulia.parts import Media, Part, Text, ToolCall, ToolResult, Unknown
from tertulia.testing.context_contract import a_message
from tertulia.tools.base import Tool, ToolContext, ToolRules
from tests.agent.company import echo, shown

CALL = ToolCall(id="c", name="look", arguments="{}")
RESULT = ToolResult(call_id="c", name="look", text="seen")


def look(where: str) -> str:
    """Look somewhere."""
    return where


class Odd(Tool):
    """A tool as nobody can be told of it."""

    def __init__(self, spec: Any) -> None:
        self._spec = spec

    @property
    @override
    def spec(self) -> ToolSpec:
        found: ToolSpec = self._spec
        return found

    @property
    @override
    def rules(self) -> ToolRules:
        return ToolRules()

    @override
    async def use(self, arguments: Any, context: ToolContext) -> str:
        return ""


def a_message_of(role: Any, *content: Any) -> Message:
    return Message(id=new_id(MESSAGE), role=role, content=content)


WRONG: dict[str, Any] = {
    "instructions with NUL": RunContext(instructions="a\x00b"),
    "instructions with half a character": RunContext(instructions="a\ud800b"),
    "a text with NUL": RunContext(messages=["a\x00b"]),
    "a text with half a character": RunContext(messages=["fine", "a\udfffb"]),
    "a message with NUL": RunContext(messages=[a_message("a\x00b")]),
    "a message with half a character": RunContext(messages=[a_message("a\ud800b")]),
    "an image with half an address": RunContext(
        messages=[a_message_of("user", Media(kind="image", url="\ud800"))]
    ),
    "a text that is a number": RunContext(messages=[a_message_of("user", Text(text=7))]),  # type: ignore[arg-type]  # the point
    "a part that is a text": RunContext(messages=[a_message_of("user", "hello")]),
    "no parts": RunContext(messages=[a_message_of("user")]),
    "a part unknown": RunContext(messages=[a_message_of("user", Unknown(raw={"type": "smell"}))]),
    "a role that there is not": RunContext(messages=[a_message_of("robot", Text(text="beep"))]),
    "a user's use of a tool": RunContext(messages=[a_message_of("user", CALL)]),
    "a use without result": RunContext(messages=[a_message_of("assistant", CALL)]),
    "a use without result before a text": RunContext(messages=[a_message_of("assistant", CALL), "hello"]),
    "a result without use": RunContext(messages=[a_message_of("tool", RESULT)]),
    "a tool's text": RunContext(messages=[a_message("seen", role="tool")]),
    "two results in one": RunContext(
        messages=[a_message_of("assistant", CALL), a_message_of("tool", RESULT, RESULT)]
    ),
    "a tool that is a number": RunContext(tools=[3]),  # type: ignore[list-item]  # the point
    "tools that are a text": RunContext(tools="look"),  # type: ignore[arg-type]  # the point
    "two tools of one name": RunContext(tools=[look, look]),
    "a tool without a spec": RunContext(tools=[Odd({"name": "odd"})]),
    "a tool without a usable name": RunContext(tools=[Odd(ToolSpec(name="two words"))]),
    "a tool described with half a character": RunContext(
        tools=[Odd(ToolSpec(name="odd", description="\ud800"))]
    ),
    "a tool whose parameters are a list": RunContext(
        tools=[Odd(ToolSpec(name="odd", parameters={"type": "array"}))]
    ),
}


class Giving:
    """Gives what it was made with."""

    def __init__(self, context: Any) -> None:
        self.context = context

    def before_run(self, run: ProviderRun) -> Any:
        return self.context


class Raining:
    """Says that it rains."""

    def before_run(self, run: ProviderRun) -> RunContext:
        return RunContext(messages=["It rains."])


@pytest.mark.parametrize("context", WRONG.values(), ids=WRONG.keys())
async def test_what_no_model_can_be_shown_costs_only_what_its_provider_knows(context: Any) -> None:
    llm = ScriptedLLM(echo)
    async with Agent(llm, context_providers=[Giving(context), Raining()]) as agent:  # type: ignore[list-item]  # plain classes
        reply = await agent.run("Hi.")

    assert reply.text == "Hi."
    assert [(failed.provider, failed.stage) for failed in reply.failures] == [("Giving", "before_run")]
    assert [shown(prompt) for prompt in llm.prompts] == [["It rains.", "Hi."]]


async def test_a_use_of_a_tool_with_its_result_can_be_shown() -> None:
    content: list[tuple[str, Part]] = [
        ("assistant", CALL),
        ("tool", RESULT),
        ("assistant", Text(text="Seen.")),
    ]
    context = RunContext(messages=[a_message_of(role, part) for role, part in content])

    checked = checked_context(context)

    assert checked is not None
    assert list(checked.messages) == list(context.messages)
