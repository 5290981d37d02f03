"""What is stored is shown whole, but for what only a model's provider can read."""

import json
from dataclasses import replace

import pytest

from tertulia.parts import Media, Part, Reasoning, Text, ToolCall, ToolResult, Unknown
from tertulia.server.run_rows import message_row, step_row, usage_row, wait_row
from tertulia.testing.builders import a_step, a_wait, an_answer
from tertulia.usage import Usage


@pytest.mark.parametrize(
    ("part", "shown"),
    [
        (Text(text="Forty."), {"type": "text", "text": "Forty."}),
        (
            Media(kind="image", url="https://example.com/a.png"),
            {"type": "media", "kind": "image", "url": "https://example.com/a.png"},
        ),
        (
            ToolCall(id="c1", name="add", arguments='{"a":1}', opaque="sealed"),
            {"type": "tool_call", "id": "c1", "name": "add", "arguments": '{"a":1}'},
        ),
        (
            ToolResult(call_id="c1", name="add", text="2"),
            {"type": "tool_result", "call_id": "c1", "name": "add", "text": "2"},
        ),
        (
            ToolResult(call_id="c1", name="add", text="no number", is_error=True),
            {"type": "tool_result", "call_id": "c1", "name": "add", "text": "no number", "is_error": True},
        ),
        (Unknown(raw={"type": "smell", "of": "bread"}), {"type": "smell", "of": "bread"}),
    ],
)
def test_a_message_shows_its_parts(part: Part, shown: dict[str, object]) -> None:
    row = message_row(replace(an_answer(), content=(Text(text="So: "), part)))

    assert row["content"] == [{"type": "text", "text": "So: "}, shown]
    assert row["reasoning"] == []


def test_what_was_thought_is_shown_apart_from_what_was_said() -> None:
    thoughts = (
        Reasoning(text="Five guests.", provider="openai", opaque="sealed"),
        Reasoning(opaque="sealed"),
    )

    row = message_row(replace(an_answer(), content=(*thoughts, Text(text="Paella."))))

    assert row["content"] == [{"type": "text", "text": "Paella."}]
    assert row["reasoning"] == ["Five guests."]
    assert "sealed" not in str(row)


def test_a_step_shows_what_a_model_answered_without_what_only_its_provider_reads() -> None:
    answer = {
        "v": 1,
        "text": "",
        "calls": [{"type": "tool_call", "id": "c1", "name": "add", "arguments": "{}", "opaque": "sealed"}],
        "reasoning": [{"type": "reasoning", "text": "Hm.", "provider": "openai", "opaque": "sealed"}],
    }

    row = step_row(replace(a_step(), kind="model", output=json.dumps(answer)))

    assert row["output"] == {
        "v": 1,
        "text": "",
        "calls": [{"type": "tool_call", "id": "c1", "name": "add", "arguments": "{}"}],
        "reasoning": [{"type": "reasoning", "text": "Hm.", "provider": "openai"}],
    }


def test_what_others_than_models_give_is_shown_as_it_is() -> None:
    given = {"glass": [{"opaque": True}]}

    assert step_row(replace(a_step(), kind="tool", output=json.dumps(given)))["output"] == given


def test_usage_shows_every_amount() -> None:
    usage = Usage(
        input_tokens=1,
        output_tokens=2,
        cached_tokens=3,
        reasoning_tokens=4,
        model_calls=5,
        wasted_calls=6,
        tool_calls=7,
        cost=0.1 + 0.2,
        unpriced_calls=8,
    )

    assert usage_row(usage) == {
        "input_tokens": 1,
        "output_tokens": 2,
        "cached_tokens": 3,
        "reasoning_tokens": 4,
        "model_calls": 5,
        "wasted_calls": 6,
        "tool_calls": 7,
        "cost_usd": 0.3,
        "unpriced_calls": 8,
    }


def test_a_wait_shows_what_it_is_about() -> None:
    plain, about_a_tool = a_wait(), a_wait(subject='{"tool":"mail","arguments":{"to":"Zoë"}}')

    assert wait_row(plain)["subject"] is None
    assert wait_row(about_a_tool)["subject"] == {"tool": "mail", "arguments": {"to": "Zoë"}}
    assert wait_row(about_a_tool)["verdicts"] == ("approve", "deny")
