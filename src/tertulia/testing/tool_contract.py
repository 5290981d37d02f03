"""What every tool, and every source of tools, does."""

import asyncio
from copy import deepcopy
from typing import Any

import pytest

from tertulia.errors import ToolError, ToolUnavailable
from tertulia.parts import ToolCall
from tertulia.tools.arguments import check_spec
from tertulia.tools.base import Tool, ToolContext, ToolSource
from tertulia.tools.using import use


def a_context(key: str = "turn/1/tool/call_1") -> ToolContext:
    """Return what a tool is told of a run."""
    return ToolContext(key=key, run_id="run_1", conversation_id="conv_1", agent="Parrot")


@pytest.mark.asyncio
class ToolContract:
    """The laws of a tool; a subclass gives the fixtures ``tool``, ``arguments``, ``failing`` and ``hanging``.

    ``tool`` answers to ``arguments`` with some text. The other two are used without arguments:
    ``failing`` cannot do what it is asked to, ``hanging`` never ends by itself.
    """

    async def test_model_can_be_told_of_it(self, tool: Tool) -> None:
        assert check_spec(tool.spec) == tool.spec
        assert tool.rules.within_seconds > 0
        assert tool.rules.max_output > 0

    async def test_it_answers_with_text(self, tool: Tool, arguments: dict[str, Any]) -> None:
        answer = await tool.use(arguments, a_context())

        assert isinstance(answer, str)
        assert answer

    async def test_using_changes_nothing(self, tool: Tool, arguments: dict[str, Any]) -> None:
        given, spec, rules = deepcopy(arguments), deepcopy(tool.spec), tool.rules

        await tool.use(arguments, a_context())

        assert (arguments, tool.spec, tool.rules) == (given, spec, rules)

    async def test_many_may_use_it_at_once(self, tool: Tool, arguments: dict[str, Any]) -> None:
        answers = await asyncio.gather(*(tool.use(arguments, a_context(f"{n}")) for n in range(8)))

        assert all(answers)

    async def test_failure_is_one_of_ours(self, failing: Tool) -> None:
        for _ in range(2):
            with pytest.raises(ToolError) as raised:
                await failing.use({}, a_context())
            assert str(raised.value)

    async def test_failure_is_a_result_for_the_model(self, failing: Tool) -> None:
        result = await use(failing, ToolCall(id="call_1", name=failing.spec.name, arguments=""), a_context())

        assert result.is_error
        assert result.text
        assert (result.call_id, result.name) == ("call_1", failing.spec.name)

    async def test_being_cancelled_ends_it(self, hanging: Tool) -> None:
        task = asyncio.create_task(hanging.use({}, a_context()))
        for _ in range(5):
            await asyncio.sleep(0)

        task.cancel()

        async with asyncio.timeout(10):
            with pytest.raises(asyncio.CancelledError):
                await task

    async def test_one_that_hangs_keeps_nobody_waiting(
        self, tool: Tool, arguments: dict[str, Any], hanging: Tool
    ) -> None:
        task = asyncio.create_task(hanging.use({}, a_context()))
        async with asyncio.timeout(10):
            answer = await tool.use(arguments, a_context())

        assert answer
        assert not task.done()
        task.cancel()
        await asyncio.wait({task})


@pytest.mark.asyncio
class ToolSourceContract:
    """The laws of a source; a subclass gives the fixtures ``source`` and ``unreachable``.

    ``source`` has a tool or more; ``unreachable`` cannot find out what it has.
    """

    async def test_tools_differ_by_name_and_can_be_told(self, source: ToolSource) -> None:
        tools = await source.tools()

        names = [check_spec(tool.spec).name for tool in tools]
        assert names
        assert len(set(names)) == len(names)

    async def test_asking_twice_gives_the_same(self, source: ToolSource) -> None:
        first = await source.tools()
        second = await source.tools()

        assert [tool.spec for tool in second] == [tool.spec for tool in first]
        assert [tool.rules for tool in second] == [tool.rules for tool in first]

    async def test_many_may_ask_at_once(self, source: ToolSource) -> None:
        answers = await asyncio.gather(*(source.tools() for _ in range(4)))

        assert all([tool.spec for tool in answer] == [t.spec for t in answers[0]] for answer in answers)

    async def test_what_cannot_be_found_out_is_said(self, unreachable: ToolSource) -> None:
        for _ in range(2):
            with pytest.raises(ToolUnavailable) as raised:
                await unreachable.tools()
            assert str(raised.value)

    async def test_closing_twice_is_closing_once(self, source: ToolSource) -> None:
        await source.tools()

        await source.close()
        await source.close()

    async def test_closing_what_was_never_asked_does_no_harm(self, source: ToolSource) -> None:
        await source.close()
