"""Tools that a model is shown and may not call now: every wire says so in its own way."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tertulia.errors import ModelRefused
from tertulia.llms.base import LLM, Finished, Prompt, Shown
from tertulia.llms.by_pydantic_ai.plug import PydanticAILLM
from tertulia.llms.openai_chat import OpenAIChat
from tertulia.llms.openai_completions import OpenAICompletions
from tertulia.llms.openai_responses import OpenAIResponses
from tertulia.llms.options import ModelName
from tertulia.llms.scripted import ScriptedLLM
from tertulia.parts import ToolCall
from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.llm_contract import WEATHER, a_question, finished, heard, with_results
from tests.llms.wire_server import MODELS, WireServer

CALL = ToolCall(id="call_1", name=WEATHER.name, arguments='{"city":"Ulm"}')
FRESH = replace(a_question(), may_call=False)
LATER = with_results(FRESH, [CALL])

each_prompt = pytest.mark.parametrize("prompt", [FRESH, LATER], ids=["fresh", "later"])


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as server:
        yield server


@each_prompt
@pytest.mark.parametrize("plug", [OpenAIChat, OpenAIResponses])
async def test_openai_is_shown_the_tools_and_told_not_to_use_them(
    fake: FakeOpenAI, plug: type[OpenAIChat | OpenAIResponses], prompt: Prompt
) -> None:
    llm = plug("gpt-x", base_url=fake.base_url)

    # The server refuses what OpenAI would refuse.
    await finished(llm, prompt)
    await finished(llm, replace(prompt, may_call=True))
    await llm.close()

    assert [request.get("tool_choice") for request in fake.requests] == ["none", None]
    assert [len(request["tools"]) for request in fake.requests] == [2, 2]


@pytest.mark.parametrize("plug", [OpenAIChat, OpenAIResponses])
async def test_without_tools_nothing_is_forbidden(
    fake: FakeOpenAI, plug: type[OpenAIChat | OpenAIResponses]
) -> None:
    llm = plug("gpt-x", base_url=fake.base_url)

    await finished(llm, replace(FRESH, tools=()))
    await llm.close()

    assert "tool_choice" not in fake.requests[0]


async def test_completions_that_need_not_call_are_no_reason_to_refuse(fake: FakeOpenAI) -> None:
    llm: LLM = OpenAICompletions("gpt-x", base_url=fake.base_url)

    whole = await finished(llm, LATER)
    with pytest.raises(ModelRefused, match="tools"):
        await heard(llm, replace(LATER, may_call=True))
    await llm.close()

    assert whole.text
    assert "tools" not in fake.requests[0]


def forbidden(provider: str, body: dict[str, object]) -> object:
    """Return what a request says of the use of tools."""
    match provider:
        case "bedrock":
            # Converse itself cannot forbid; the model's own field can.
            return body.get("additionalModelRequestFields", {}) == {"tool_choice": {"type": "none"}}
        case "google":
            return body.get("toolConfig") == {"functionCallingConfig": {"mode": "NONE"}}
        case "mistral":
            return "tools" not in body
        case _:
            return body.get("tool_choice") in ("none", "NONE", {"type": "none"})


@pytest.mark.parametrize("provider", sorted(MODELS))
@pytest.mark.parametrize("wants_deltas", [True, False], ids=["streamed", "whole"])
async def test_other_providers_are_told_as_they_want_it(provider: str, *, wants_deltas: bool) -> None:
    async with WireServer(provider) as server:
        llm = PydanticAILLM(ModelName(provider, MODELS[provider]), server.options)

        for may_call in (False, True):
            await heard(llm, replace(LATER, may_call=may_call, wants_deltas=wants_deltas))
        await llm.close()

    assert [bool(forbidden(provider, body)) for body in server.bodies] == [True, False]


async def test_a_script_is_kept_to_in_any_case() -> None:
    llm = ScriptedLLM([CALL])

    whole = await finished(llm, FRESH)

    assert isinstance(whole, Finished)
    assert whole.calls == (CALL,)


def test_tools_may_be_called_unless_it_is_said() -> None:
    assert Prompt(messages=(Shown(role="user", text="Hi"),)).may_call
