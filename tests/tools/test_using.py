"""Using a tool for a model: whatever happens, there is a result."""

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from tertulia import tool
from tertulia.definitions import ToolSpec
from tertulia.errors import InvalidInput, ToolError
from tertulia.parts import ToolCall, ToolResult
from tertulia.testing.tool_contract import a_context
from tertulia.tools.arguments import MAX_ARGUMENTS, check_spec, parse_arguments
from tertulia.tools.base import Tool, ToolContext, ToolRules
from tertulia.tools.using import use

NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


DOUBLING = {f"{n}": {"allOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(30)} | {"30": {}}


class Bare(Tool):
    """A tool that keeps no law but the one that is tested."""

    def __init__(
        self,
        answer: object = "fine",
        *,
        parameters: Mapping[str, Any] = NUMBER,
        rules: ToolRules | None = None,
    ) -> None:
        self._answer, self._rules = answer, rules or ToolRules()
        self._spec = ToolSpec(name="bare", parameters=parameters)

    @property
    @override
    def spec(self) -> ToolSpec:
        return self._spec

    @property
    @override
    def rules(self) -> ToolRules:
        return self._rules

    @override
    async def use(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        if isinstance(self._answer, BaseException):
            raise self._answer
        if isinstance(self._answer, asyncio.Event):
            await self._answer.wait()
        return str(self._answer)


async def result_of(
    tool: Tool, arguments: str = '{"n": 1}', *, within_seconds: float | None = None
) -> ToolResult:
    call = ToolCall(id="call_1", name=tool.spec.name, arguments=arguments)
    return await use(tool, call, a_context(), within_seconds=within_seconds)


async def test_what_a_tool_gives_is_the_result() -> None:
    result = await result_of(Bare("fine"))

    assert result == ToolResult(call_id="call_1", name="bare", text="fine")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("", '"n" is a required property'),
        ("{}", '"n" is a required property'),
        ('{"n": "one"}', r"at \$\.n"),
        ("[1]", "must be a JSON object"),
        ("null", "must be a JSON object"),
        ('{"n": 1', "no valid JSON"),
        ('{"n": NaN}', "no valid JSON"),
        ("{'n': 1}", "no valid JSON"),
        ('{"n": "\ud800"}', "no valid JSON"),
        ('{"n": 1} {"n": 2}', "no valid JSON"),
        ('{"n": %s}' % ("[" * 5000 + "]" * 5000), "no valid JSON|nested deeper"),
        ('{"n": %s}' % ("[" * 300 + "]" * 300), "nested deeper"),
        ('{"n": "%s"}' % ("x" * MAX_ARGUMENTS), "longer than"),
    ],
)
async def test_a_model_is_told_what_to_mend(arguments: str, why: str) -> None:
    result = await result_of(Bare(), arguments)

    assert result.is_error
    assert re.search(why, result.text)


async def test_what_a_model_is_told_is_short() -> None:
    parameters = {"type": "object", "additionalProperties": False}
    arguments = json.dumps({f"{'k' * 300}{n}": "secret" for n in range(500)})

    result = await result_of(Bare(parameters=parameters), arguments)

    assert result.is_error
    assert len(result.text) < 2000
    assert "secret" not in result.text


async def test_a_tool_that_takes_nothing_takes_empty_arguments() -> None:
    @tool
    async def ping() -> str:
        return "pong"

    assert (await result_of(ping, "")).text == "pong"
    assert (await result_of(ping, "  ")).text == "pong"


async def test_a_result_that_is_long_is_cut_and_the_model_told() -> None:
    result = await result_of(Bare("x" * 50, rules=ToolRules(max_output=20)))

    assert result.text == "x" * 20 + "\n[cut: the first 20 of 50 characters]"
    assert not result.is_error


async def test_a_result_can_be_kept_by_every_database() -> None:
    result = await result_of(Bare("a\x00b\ud800c"))

    assert result.text == "a\ufffdb\ufffdc"


@pytest.mark.parametrize(
    ("is_idempotent", "told"), [(True, "may be used again"), (False, "not known whether it took effect")]
)
async def test_a_tool_that_is_too_slow_is_stopped_and_the_model_told(is_idempotent: bool, told: str) -> None:
    rules = ToolRules(within_seconds=0.01, is_idempotent=is_idempotent)

    result = await result_of(Bare(asyncio.Event(), rules=rules))

    assert result.is_error
    assert "0.01 seconds" in result.text
    assert told in result.text


@pytest.mark.parametrize(
    ("is_idempotent", "told"), [(True, "may be used again"), (False, "not known whether it took effect")]
)
async def test_a_tool_is_stopped_when_its_run_has_no_time_left(is_idempotent: bool, told: str) -> None:
    rules = ToolRules(within_seconds=3600, is_idempotent=is_idempotent)

    result = await result_of(Bare(asyncio.Event(), rules=rules), within_seconds=0.1)

    assert result.is_error
    assert "stopped after 0.1 seconds, since its run has no time left" in result.text
    assert told in result.text


async def test_the_shorter_of_both_limits_counts() -> None:
    slow = Bare(asyncio.Event(), rules=ToolRules(within_seconds=0.01))

    result = await result_of(slow, within_seconds=3600)

    assert "longer than 0.01 seconds" in result.text
    assert (await result_of(Bare("fine"), within_seconds=3600)).text == "fine"


@pytest.mark.parametrize("seconds", [0, -1.5])
async def test_a_tool_is_not_used_at_all_when_its_run_has_no_time_left_before(seconds: float) -> None:
    used: list[str] = []

    @tool
    async def pay() -> None:
        used.append("paid")

    result = await result_of(pay, "", within_seconds=seconds)

    assert result.is_error
    assert result.text == "the tool was not used, since its run has no time left"
    assert used == []


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ToolError("sold out"), "sold out"),
        (RuntimeError("4711"), "the tool failed (RuntimeError)"),
        (TimeoutError("4711"), "the tool failed (TimeoutError)"),
        (SystemExit(4711), "the tool failed (SystemExit)"),
        (InvalidInput("not so"), "not so"),
        (ToolError("x\x00" * 3000), None),
    ],
)
async def test_whatever_a_tool_raises_is_a_result(error: BaseException, text: str | None) -> None:
    result = await result_of(Bare(error))

    assert result.is_error
    assert "4711" not in result.text
    assert "\x00" not in result.text
    assert len(result.text) <= 2000
    assert text is None or result.text == text


async def test_being_cancelled_is_no_result() -> None:
    task = asyncio.create_task(result_of(Bare(asyncio.Event())))
    await asyncio.sleep(0)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "object", "$ref": "https://example.com/schema"},
        {"type": "object", "properties": {"n": {"type": "nothing"}}},
        {"type": "object", "properties": {"n": {"pattern": "("}}},
        {"type": "string"},
        {},
        {"type": "object", "description": "x" * 100_000},
        {"type": "object", "$ref": "#/$defs/0", "$defs": DOUBLING},
    ],
)
async def test_a_schema_that_cannot_be_used_is_told(parameters: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="bare"):
        check_spec(ToolSpec(name="bare", parameters=parameters))


async def test_a_tool_with_a_schema_that_cannot_be_used_is_not_used() -> None:
    result = await result_of(Bare(parameters={"type": "object", "$ref": "https://example.com/schema"}))

    assert result.is_error
    assert "parameters of the tool 'bare'" in result.text


@pytest.mark.parametrize("name", ["", "two words", "é", "a" * 65, "dotted.name"])
def test_a_name_that_not_every_provider_takes_is_told(name: str) -> None:
    with pytest.raises(InvalidInput, match="1 to 64 letters"):
        check_spec(ToolSpec(name=name))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(arguments=st.dictionaries(st.text(), JSON))
def test_arguments_come_as_they_were_written(arguments: dict[str, Any]) -> None:
    assert (
        parse_arguments(json.dumps(arguments), ToolSpec(name="any", parameters={"type": "object"}))
        == arguments
    )


@given(text=st.text())
def test_no_text_is_more_than_a_tool_error(text: str) -> None:
    try:
        found = parse_arguments(text, ToolSpec(name="any", parameters={"type": "object"}))
    except ToolError as error:
        assert str(error)
    else:
        assert isinstance(found, dict)
