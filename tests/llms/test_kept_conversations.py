"""What OpenAI keeps, gone on from with only what is new: answers, and whole conversations."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import pytest

from tertulia.agent_settings import ModelSettings
from tertulia.errors import (
    AnswerGone,
    ModelBusy,
    ModelError,
    ModelMalformed,
    ModelRefused,
    ModelTimeout,
    ModelUnreachable,
)
from tertulia.llms.base import Begun, Finished
from tertulia.llms.naming import open_chain
from tertulia.llms.openai_responses import OpenAIResponses
from tertulia.llms.options import LLMOptions
from tertulia.parts import ToolCall
from tertulia.testing.fake_openai import FakeOpenAI, Said
from tertulia.testing.keeping_contract import going_on, only_results, to_be_kept
from tertulia.testing.llm_contract import a_prompt, a_question, finished, heard

CALLS = (
    ToolCall(id="call_a", name="weather", arguments='{"city":"Ulm"}'),
    ToolCall(id="call_b", name="clock", arguments="{}"),
)
ALONE = ModelSettings(background=True)


async def no_pause(_seconds: float) -> None:
    await asyncio.sleep(0)


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as server:
        yield server


@pytest.fixture
async def gpt(fake: FakeOpenAI) -> AsyncIterator[OpenAIResponses]:
    client = OpenAIResponses("gpt-x", base_url=fake.base_url, pause=no_pause)
    yield client
    await client.close()


def said_in(fake: FakeOpenAI, conversation: str) -> list[object]:
    """Return who said something in a conversation, or what else stands there."""
    return [item.get("role", item["type"]) for item in fake.shelf.talk(conversation).items]


async def test_conversation_holds_everything_once(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    conversation = await gpt.begin_conversation()

    await finished(gpt, replace(a_prompt("[[ one"), within=conversation))
    second = await finished(gpt, replace(going_on("[[ two"), within=conversation))

    assert second.text.startswith("m=2 ")
    assert said_in(fake, conversation) == ["system", "assistant", "user", "assistant", "user", "assistant"]
    assert [(asked["conversation"], asked["store"], len(asked["input"])) for asked in fake.requests] == [
        (conversation, True, 3),
        (conversation, True, 1),
    ]


@pytest.mark.parametrize("store", [None, False])
async def test_what_goes_on_from_something_kept_is_kept(
    fake: FakeOpenAI, gpt: OpenAIResponses, store: bool | None
) -> None:
    first = await finished(gpt, to_be_kept(a_prompt()))
    prompt = replace(going_on(), settings=ModelSettings(store=store), follows=first.external_id)

    second = await finished(gpt, prompt)

    assert second.external_id in fake.shelf.answers
    assert fake.requests[1]["store"] is True


async def test_only_one_of_both_is_ever_sent(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    conversation = await gpt.begin_conversation()
    first = await finished(gpt, replace(a_prompt(), within=conversation))

    await finished(gpt, replace(going_on(), within=conversation, follows=first.external_id))

    assert "previous_response_id" not in fake.requests[1]


@pytest.mark.parametrize("is_conversation", [True, False], ids=["within", "follows"])
@pytest.mark.parametrize("settings", [ModelSettings(), ALONE], ids=["plain", "background"])
async def test_only_results_are_sent_after_calls(
    fake: FakeOpenAI, gpt: OpenAIResponses, is_conversation: bool, settings: ModelSettings
) -> None:
    fake.script(["Hello.", CALLS, "It rains."])
    within = await gpt.begin_conversation() if is_conversation else None
    hello = await finished(gpt, replace(to_be_kept(a_prompt()), within=within))
    question = replace(a_question(), settings=settings, within=within)
    asked = await finished(gpt, replace(question, follows=None if within else hello.external_id))

    results = replace(only_results(asked.calls), settings=settings, within=within)
    told = await finished(gpt, replace(results, follows=None if within else asked.external_id))

    assert told.text == "It rains."
    assert [item["type"] for item in fake.requests[2]["input"]] == ["function_call_output"] * 2
    assert told.external_id not in {None, asked.external_id, hello.external_id}


@pytest.mark.parametrize("settings", [ModelSettings(), ALONE], ids=["plain", "background"])
async def test_conversation_that_has_expired_is_gone(
    fake: FakeOpenAI, gpt: OpenAIResponses, settings: ModelSettings
) -> None:
    conversation = await gpt.begin_conversation()
    fake.expire(conversation)

    with pytest.raises(AnswerGone) as raised:
        await heard(gpt, replace(a_prompt(), settings=settings, within=conversation))

    assert conversation not in str(raised.value)


@pytest.mark.parametrize("code", ["previous_response_not_found", "conversation_not_found"])
@pytest.mark.parametrize("wants_deltas", [True, False], ids=["streamed", "whole"])
async def test_what_turns_out_to_be_gone_while_it_is_answered_is_gone(
    fake: FakeOpenAI, gpt: OpenAIResponses, code: str, wants_deltas: bool
) -> None:
    first = await finished(gpt, to_be_kept(a_prompt()))
    fake.script([Said(failure=code), Said(failure=code)])
    prompt = replace(going_on(), wants_deltas=wants_deltas)

    with pytest.raises(AnswerGone) as raised:
        await heard(gpt, replace(prompt, follows=first.external_id))
    with pytest.raises(ModelUnreachable):
        await heard(gpt, prompt)

    assert "SECRET" not in str(raised.value)


async def test_conversation_that_stopped_at_a_call_cannot_be_gone_on_with(
    fake: FakeOpenAI, gpt: OpenAIResponses
) -> None:
    fake.script([CALLS])
    conversation = await gpt.begin_conversation()
    await finished(gpt, replace(a_question(), within=conversation))

    with pytest.raises(AnswerGone):
        await heard(gpt, replace(going_on(), within=conversation))


async def test_results_of_calls_that_the_provider_does_not_know_are_gone(gpt: OpenAIResponses) -> None:
    conversation = await gpt.begin_conversation()

    with pytest.raises(AnswerGone):
        await heard(gpt, replace(only_results(CALLS), within=conversation))


async def test_conversation_in_use_is_busy_and_not_gone(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    conversation = await gpt.begin_conversation()
    prompt = replace(a_prompt(), within=conversation)
    fake.hold()

    async with aclosing(gpt.stream(replace(prompt, settings=ALONE))) as events:
        await anext(events)
        with pytest.raises(ModelBusy):
            await heard(gpt, prompt)
        fake.release()
        rest = [event async for event in events]

    assert isinstance(rest[-1], Finished)
    assert (await finished(gpt, prompt)).text


async def test_work_in_a_conversation_is_taken_up_again(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    conversation = await gpt.begin_conversation()
    prompt = replace(a_prompt(), settings=ALONE, within=conversation)
    fake.hold()
    async with aclosing(gpt.stream(prompt)) as events:
        begun = await anext(events)
    assert isinstance(begun, Begun)
    fake.release()

    whole = await finished(gpt, replace(prompt, resumes=begun.external_id))

    assert whole.external_id == begun.external_id
    assert fake.calls == 1
    assert said_in(fake, conversation)[-2:] == ["user", "assistant"]


async def test_server_that_cannot_work_alone_still_keeps_answers(
    fake: FakeOpenAI, gpt: OpenAIResponses
) -> None:
    first = await finished(gpt, to_be_kept(a_prompt()))
    fake.fault("no-background")

    whole = await finished(gpt, replace(going_on(), settings=ALONE, follows=first.external_id))

    assert whole.external_id in fake.shelf.answers
    assert gpt.keeps_answers


async def test_server_that_keeps_nothing_is_asked_only_for_what_stands_alone(
    fake: FakeOpenAI, gpt: OpenAIResponses
) -> None:
    first = await finished(gpt, to_be_kept(a_prompt()))
    fake.fault("no-store")

    with pytest.raises(AnswerGone):
        await heard(gpt, replace(going_on(), follows=first.external_id))
    whole = await finished(gpt, to_be_kept(a_prompt()))

    assert whole.external_id is None
    assert not gpt.keeps_answers
    assert [asked["store"] for asked in fake.requests] == [True, True, True, False]


# Conversations themselves


async def test_forgotten_conversation_is_deleted(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    conversation = await gpt.begin_conversation()

    await gpt.forget_conversation(conversation)
    await gpt.forget_conversation("no such/../thing?x=1")

    assert fake.shelf.talks == {}


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("401", ModelRefused),
        ("404", ModelRefused),
        ("408", ModelTimeout),
        ("429", ModelBusy),
        ("500", ModelUnreachable),
        ("malformed", ModelMalformed),
    ],
)
async def test_conversation_that_cannot_be_begun_is_one_of_our_errors(
    fake: FakeOpenAI, gpt: OpenAIResponses, fault: str, error: type[ModelError]
) -> None:
    fake.fault(fault, on="converse")

    with pytest.raises(ModelError) as raised:
        await gpt.begin_conversation()

    assert type(raised.value) is error
    assert "SECRET" not in str(raised.value)
    assert await gpt.begin_conversation()


async def test_conversation_that_cannot_be_forgotten_is_said_to_be_there(
    fake: FakeOpenAI, gpt: OpenAIResponses
) -> None:
    conversation = await gpt.begin_conversation()
    fake.fault("500", on="converse")

    with pytest.raises(ModelUnreachable):
        await gpt.forget_conversation(conversation)

    assert conversation in fake.shelf.talks


async def test_public_server_is_not_asked_for_conversations_without_a_key() -> None:
    gpt = OpenAIResponses("gpt-x")

    with pytest.raises(ModelRefused, match="OPENAI_API_KEY"):
        await gpt.begin_conversation()
    with pytest.raises(ModelRefused, match="OPENAI_API_KEY"):
        await gpt.forget_conversation("conv_1")


async def test_conversations_outlast_a_server_that_fails_for_a_moment(
    fake: FakeOpenAI, gpt: OpenAIResponses
) -> None:
    llm = open_chain([gpt], options=LLMOptions(whole_seconds=30))
    fake.fault("503", on="converse", retry_after=0.01)
    conversation = await llm.begin_conversation()
    fake.fault("503", on="converse", retry_after=0.01)

    await llm.forget_conversation(conversation)

    assert (fake.conversed, fake.shelf.talks) == (4, {})
