"""The fake model server refuses what OpenAI's refuses, in the same form, unless it was told not to."""

from typing import Any

import openai
import pytest

from tertulia.parts import ToolCall
from tertulia.testing.fake_openai import FakeOpenAI, Said

USER = {"role": "user", "content": "x"}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
CALLING = {"role": "assistant", "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "sunny"}
TOOL = {"name": "weather", "parameters": {"type": "object", "properties": {}}}
OPEN = {"type": "object", "properties": {"a": {"type": "string"}}}
ITEM_CALL = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
ITEM_RESULT = {"type": "function_call_output", "call_id": "c1", "output": "sunny"}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed-aG0="}


def tools(tool: dict[str, Any]) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": tool}]}


def shaped(**more: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": more}}


async def refused(ask: Any, body: dict[str, Any]) -> tuple[str | None, str | None]:
    """Return the place and the code of a refusal."""
    given = {"model": "m"} | body
    sent = {name: value for name, value in given.items() if value is not None}
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)) as raised:
        await ask(**{"model": ""} | {"extra_body": sent} | _needed(ask))
    assert raised.value.type == "invalid_request_error"
    assert raised.value.message
    return raised.value.param, raised.value.code


def _needed(ask: Any) -> dict[str, Any]:
    """Return what the client itself would not do without."""
    where = type(ask.__self__).__module__
    if "chat" in where:
        return {"messages": openai.omit}
    return {"prompt": openai.omit} if where.endswith("completions") else {}


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"model": ""}, None, None),
        ({"messages": None}, "messages", "missing_required_parameter"),
        ({"messages": "x"}, "messages", "invalid_type"),
        ({"messages": []}, "messages", "empty_array"),
        ({"messages": ["x"]}, "messages[0]", "invalid_type"),
        ({"messages": [{"role": "bot", "content": "x"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", None),
        ({"messages": [{"role": "assistant"}]}, "messages[0].content", None),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content", "empty_array"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content", "invalid_type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "video"}]}]},
            "messages[0].content[0].type",
            "invalid_value",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
            "missing_required_parameter",
        ),
        ({"messages": [USER | {"name": "a b"}]}, "messages[0].name", "invalid_value"),
        ({"messages": [USER | {"name": "a" * 65}]}, "messages[0].name", "string_above_max_length"),
        ({"messages": [USER, RESULT]}, "messages.[1].role", None),
        ({"messages": [USER, CALLING]}, "messages.[2].role", None),
        ({"messages": [USER, CALLING, USER]}, "messages.[2].role", None),
        ({"messages": [USER, CALLING, RESULT, RESULT]}, "messages.[3].role", None),
        (
            {"messages": [USER, CALLING, {"role": "tool", "content": "x"}]},
            "messages[2].tool_call_id",
            "missing_required_parameter",
        ),
        ({"messages": [{"role": "assistant", "tool_calls": []}]}, "messages[0].tool_calls", "empty_array"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [CALL | {"id": ""}]}]},
            "messages[0].tool_calls[0].id",
            "missing_required_parameter",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [CALL | {"function": {"name": "a.b"}}]}]},
            "messages[0].tool_calls[0].function.name",
            "invalid_value",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [CALL | {"function": {"name": "ab"}}]}]},
            "messages[0].tool_calls[0].function.arguments",
            "missing_required_parameter",
        ),
        ({"temperature": 2.5}, "temperature", "decimal_above_max_value"),
        ({"presence_penalty": -3}, "presence_penalty", "decimal_below_min_value"),
        ({"top_p": "x"}, "top_p", "invalid_type"),
        ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
        ({"max_tokens": 1.5}, "max_tokens", "invalid_type"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens", "invalid_parameter_combination"),
        ({"stop": list("abcde")}, "stop", "array_above_max_length"),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"stream_options": {}}, "stream_options", None),
        ({"timeout": 3}, "timeout", "unknown_parameter"),
        ({"tools": []}, "tools", "empty_array"),
        (tools({"name": "a b"}), "tools[0].function.name", "invalid_value"),
        (tools({}), "tools[0].function.name", "missing_required_parameter"),
        (
            tools({"name": "a", "parameters": {"type": "string"}}),
            "tools[0].function.parameters",
            "invalid_function_parameters",
        ),
        (
            tools({"name": "a", "parameters": OPEN, "strict": True}),
            "tools[0].function.parameters",
            "invalid_function_parameters",
        ),
        ({"tool_choice": "required"}, "tool_choice", None),
        (tools(TOOL) | {"tool_choice": "sometimes"}, "tool_choice", "invalid_value"),
        (tools(TOOL) | {"tool_choice": {"type": "function", "function": {"name": "b"}}}, "tool_choice", None),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
        (shaped(schema={}), "response_format.json_schema.name", "missing_required_parameter"),
        (shaped(name="a"), "response_format.json_schema.schema", "missing_required_parameter"),
        (
            shaped(name="a", schema=OPEN, strict=True),
            "response_format.json_schema",
            "invalid_json_schema",
        ),
        (
            shaped(name="a", schema=OPEN | {"additionalProperties": False}, strict=True),
            "response_format.json_schema",
            "invalid_json_schema",
        ),
    ],
)
async def test_chat_is_refused(
    client: Any, body: dict[str, Any], param: str | None, code: str | None
) -> None:
    assert await refused(client.chat.completions.create, {"messages": [USER]} | body) == (param, code)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"model": ""}, None, None),
        ({"input": None}, "input", "missing_required_parameter"),
        ({"input": 1}, "input", "invalid_type"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0]", "invalid_value"),
        ({"input": [{"role": "user"}]}, "input[0].content", "missing_required_parameter"),
        (
            {"input": [{"role": "user", "content": [{"type": "output_text", "text": "x"}]}]},
            "input[0].content[0]",
            "invalid_value",
        ),
        ({"input": [{"type": "tool_call"}]}, "input[0]", "invalid_value"),
        ({"input": [USER, ITEM_CALL]}, "input", None),
        ({"input": [USER, ITEM_RESULT]}, "input", None),
        (
            {"input": [USER, ITEM_CALL | {"id": "call_1"}, ITEM_RESULT]},
            "input[1].id",
            "invalid_value",
        ),
        ({"input": [USER, ITEM_RESULT | {"output": None}]}, "input[1].output", "missing_required_parameter"),
        ({"input": [USER, THOUGHT]}, "input", None),
        ({"input": [USER, THOUGHT, USER]}, "input", None),
        ({"input": [USER, THOUGHT | {"encrypted_content": "x"}]}, None, "invalid_encrypted_content"),
        ({"input": [USER, THOUGHT | {"encrypted_content": None}]}, "input", None),
        ({"background": True, "store": False}, "background", None),
        ({"previous_response_id": "a", "conversation": "b"}, None, "mutually_exclusive_parameters"),
        ({"previous_response_id": "a"}, "previous_response_id", "previous_response_not_found"),
        ({"messages": [USER]}, "messages", "unknown_parameter"),
        ({"instructions": ["x"]}, "instructions", "invalid_type"),
        ({"max_output_tokens": 0}, "max_output_tokens", "integer_below_min_value"),
        ({"tools": [TOOL]}, "tools[0].type", "missing_required_parameter"),
        ({"tool_choice": "required"}, "tool_choice", None),
        (
            {"text": {"format": {"type": "json_schema", "name": "a"}}},
            "text.format.schema",
            "missing_required_parameter",
        ),
    ],
)
async def test_response_is_refused(
    client: Any, body: dict[str, Any], param: str | None, code: str | None
) -> None:
    assert await refused(client.responses.create, {"input": "x"} | body) == (param, code)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"input": ""}, "input", None),
        ({"input": ["a", ""]}, "input", None),
        ({"input": ["a"] * 2049}, "input", "array_above_max_length"),
        ({"dimensions": 0}, "dimensions", "integer_below_min_value"),
        ({"encoding_format": "octal"}, "encoding_format", "invalid_value"),
    ],
)
async def test_embedding_is_refused(
    client: Any, body: dict[str, Any], param: str | None, code: str | None
) -> None:
    given = {"encoding_format": "float", "model": "m", "input": "x"} | body
    with pytest.raises(openai.BadRequestError) as raised:
        await client.embeddings.create(**given)

    assert (raised.value.param, raised.value.code) == (param, code)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"prompt": None}, "prompt", "missing_required_parameter"),
        ({"prompt": 1}, "prompt", "invalid_type"),
        ({"messages": [USER]}, "messages", "unknown_parameter"),
    ],
)
async def test_completion_is_refused(
    client: Any, body: dict[str, Any], param: str | None, code: str | None
) -> None:
    assert await refused(client.completions.create, {"prompt": "x"} | body) == (param, code)


@pytest.mark.parametrize("messages", [[USER], [USER, CALLING, RESULT], [USER, CALLING, RESULT, USER]])
async def test_what_is_right_is_answered(client: Any, messages: list[Any]) -> None:
    answer = await client.chat.completions.create(model="m", messages=messages)

    assert answer.choices[0].message.content


async def test_kept_call_needs_the_thought_that_led_to_it(fake: FakeOpenAI, client: Any) -> None:
    fake.script([Said(reasoning="hm", calls=(ToolCall(id="c1", name="weather", arguments="{}"),))])
    thought, call = (await client.responses.create(model="m", input="x")).output

    with pytest.raises(openai.BadRequestError, match="without its required 'reasoning' item"):
        await client.responses.create(model="m", input=[USER, call.to_dict(), ITEM_RESULT])

    answer = await client.responses.create(
        model="m", input=[USER, {"type": "item_reference", "id": thought.id}, call.to_dict(), ITEM_RESULT]
    )
    assert answer.output_text


async def test_call_of_an_earlier_answer_needs_its_result(fake: FakeOpenAI, client: Any) -> None:
    fake.script([ToolCall(id="c1", name="weather", arguments="{}")])
    asked = await client.responses.create(model="m", input="x")

    with pytest.raises(openai.BadRequestError, match=r"No tool output found for function call c1\."):
        await client.responses.create(model="m", input="y", previous_response_id=asked.id)


async def test_only_background_work_is_cancelled_or_followed(client: Any) -> None:
    answer = await client.responses.create(model="m", input="x")

    with pytest.raises(openai.BadRequestError, match="synchronous"):
        await client.responses.cancel(answer.id)
    with pytest.raises(openai.BadRequestError, match="background"):
        await client.responses.retrieve(answer.id, stream=True)


async def test_nothing_of_this_matters_if_it_was_told_so(fake: FakeOpenAI, client: Any) -> None:
    fake.strict = False

    chat = await client.chat.completions.create(model="m", messages=[USER, RESULT], extra_body={"a": 1})
    answer = await client.responses.create(model="m", input=[USER, ITEM_RESULT], extra_body={"a": 1})

    assert chat.choices[0].message.content
    assert answer.output_text


async def test_what_is_no_json_is_refused(fake: FakeOpenAI, http: Any) -> None:
    for path in ("chat/completions", "completions", "responses", "embeddings"):
        for body in (b"{", b"[]"):
            async with http.post(f"{fake.base_url}/{path}", data=body) as reply:
                assert reply.status == 400
                assert (await reply.json())["error"]["type"] == "invalid_request_error"
