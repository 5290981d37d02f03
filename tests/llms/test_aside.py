"""Asides: system text that a model is told for one answer, and that nobody keeps."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Final

import pytest

from tertulia.agent_settings import ModelSettings
from tertulia.errors import ModelUnreachable
from tertulia.llms.aside import with_aside
from tertulia.llms.base import Prompt, Shown
from tertulia.llms.by_pydantic_ai.plug import PydanticAILLM
from tertulia.llms.naming import open_chain
from tertulia.llms.openai_responses import OpenAIResponses
from tertulia.llms.options import LLMOptions, ModelName
from tertulia.llms.scripted import ScriptedLLM
from tertulia.llms.wire import body, completion, responses_body
from tertulia.memory.transcript import Transcript
from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.keeping_contract import going_on, to_be_kept
from tertulia.testing.llm_contract import a_prompt, finished, heard
from tests.llms.wire_server import MODELS, WireServer

ASIDE: Final = "Today is [[Monday."
TALK: Final = Prompt(messages=(Shown(role="system", text="Be brief."), Shown(role="user", text="Hi")))
_INPUT: Final = b'[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"}]'
_COUNTED: Final = b'"stream":true,"stream_options":{"include_usage":true}'


def as_chat(prompt: Prompt) -> bytes:
    return body.encode("m", prompt, body.Dialect())


def as_completion(prompt: Prompt) -> bytes:
    return completion.encode("m", prompt, body.Dialect())


def as_response(prompt: Prompt) -> bytes:
    return responses_body.encode("m", prompt, responses_body.Dialect())


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as server:
        yield server


@pytest.fixture
async def gpt(fake: FakeOpenAI) -> AsyncIterator[OpenAIResponses]:
    client = OpenAIResponses("gpt-x", base_url=fake.base_url)
    yield client
    await client.close()


# As a message


def test_aside_becomes_the_first_system_message() -> None:
    told = with_aside(replace(TALK, aside=ASIDE))

    assert told == replace(TALK, messages=(Shown(role="system", text=ASIDE), *TALK.messages))


def test_prompt_without_aside_stays_the_very_same() -> None:
    assert with_aside(TALK) is TALK


def test_chat_is_shown_it_before_all_messages() -> None:
    asked = json.loads(as_chat(replace(TALK, aside=f"{ASIDE}\ud83d")))

    assert asked["messages"] == [
        {"role": "system", "content": f"{ASIDE}\ufffd"},
        *json.loads(as_chat(TALK))["messages"],
    ]


def test_completion_begins_with_it() -> None:
    alone = Prompt(messages=(Shown(role="user", text="Once upon a time"),), aside=ASIDE)

    assert json.loads(as_completion(replace(TALK, aside=ASIDE)))["prompt"] == (
        f"{ASIDE}\n\nBe brief.\n\nUser: Hi\n\nAssistant:"
    )
    assert json.loads(as_completion(alone))["prompt"] == f"{ASIDE}\n\nUser: Once upon a time\n\nAssistant:"


def test_history_that_was_joined_before_is_shown_behind_it() -> None:
    passage = Transcript(TALK.messages[1:]).passage(opening=(TALK.messages[0],))

    joined = as_chat(replace(TALK, messages=passage, aside=ASIDE))

    assert joined == as_chat(replace(TALK, aside=ASIDE))


@pytest.mark.parametrize("provider", sorted(MODELS))
async def test_every_other_provider_is_told_it_with_the_system_s_words(provider: str) -> None:
    async with WireServer(provider) as server:
        llm = PydanticAILLM(ModelName(provider, MODELS[provider]), server.options)
        await heard(llm, replace(TALK, aside=ASIDE))
        await llm.close()

    sent = json.dumps(server.bodies[-1])
    assert sent.count(ASIDE) == 1
    assert sent.index(ASIDE) < sent.index("Be brief.")


async def test_scripted_model_shows_it_first_and_does_not_keep_it() -> None:
    llm = ScriptedLLM(lambda prompt: prompt.aside or "nothing", keeps_answers=True)
    conversation = await llm.begin_conversation()
    prompt = replace(TALK, settings=ModelSettings(store=True), within=conversation)

    first = await finished(llm, replace(prompt, aside=ASIDE))
    second = await finished(llm, replace(prompt, messages=TALK.messages[1:]))

    assert (first.text, second.text) == (ASIDE, "nothing")
    assert llm.prompts[0][:2] == [
        {"role": "system", "content": ASIDE},
        {"role": "system", "content": "Be brief."},
    ]
    assert llm.asked[0].aside == ASIDE
    assert [said["content"] for said in llm.kept["answer_1"]] == ["Be brief.", "Hi", ASIDE]
    roles = [said["role"] for said in llm.kept[conversation]]
    assert roles == ["system", "user", "assistant", "user", "assistant"]


# As instructions


def test_response_has_it_as_instructions_and_nothing_else_is_different() -> None:
    asked, plain = json.loads(as_response(replace(TALK, aside=ASIDE))), json.loads(as_response(TALK))

    assert asked.pop("instructions") == ASIDE
    assert asked == plain


def test_half_a_letter_in_it_does_not_stop_a_response() -> None:
    assert json.loads(as_response(replace(TALK, aside="a\ud83d")))["instructions"] == "a\ufffd"


@pytest.mark.parametrize("background", [None, True], ids=["plain", "background"])
@pytest.mark.parametrize("is_conversation", [True, False], ids=["within", "follows"])
async def test_service_is_told_it_and_does_not_have_it_later(
    fake: FakeOpenAI, gpt: OpenAIResponses, *, is_conversation: bool, background: bool | None
) -> None:
    within = await gpt.begin_conversation() if is_conversation else None
    settings, texts = ModelSettings(store=True, background=background), []
    prompt, follows = replace(a_prompt("[[one"), aside=ASIDE), None

    for following in (going_on("[[two"), replace(going_on("[[three"), aside=ASIDE), going_on("[[four")):
        whole = await finished(gpt, replace(prompt, settings=settings, within=within, follows=follows))
        texts.append(whole.text[:4])
        prompt, follows = following, None if is_conversation else whole.external_id

    assert texts == ["m=2 ", "m=2 ", "m=4 "]
    assert ["instructions" in asked for asked in fake.requests] == [True, False, True]
    kept = [item for answer in fake.shelf.answers.values() for item in answer.items()]
    assert ASIDE not in json.dumps([*kept, *(talk.items for talk in fake.shelf.talks.values())])


# On its way


async def test_every_model_of_a_chain_is_told_it() -> None:
    failing, answering = ScriptedLLM([ModelUnreachable()] * 9, name="a"), ScriptedLLM(["yes"], name="b")
    options = LLMOptions(first_token_seconds=30, whole_seconds=30)
    llm = open_chain([failing, answering], options=options)

    await heard(llm, replace(TALK, aside=ASIDE))

    assert {asked.aside for asked in (*failing.asked, *answering.asked)} == {ASIDE}
    assert failing.asked
    assert answering.asked


async def test_it_is_told_again_when_a_server_has_to_be_asked_otherwise(
    fake: FakeOpenAI, gpt: OpenAIResponses
) -> None:
    prompt = replace(to_be_kept(TALK), aside=ASIDE)
    fake.fault("no-store")

    await finished(gpt, prompt)

    assert [asked["instructions"] for asked in fake.requests] == [ASIDE, ASIDE]


# Without one


@pytest.mark.parametrize(
    ("encode", "expected"),
    [
        (as_chat, b'{"model":"m","messages":' + _INPUT + b"," + _COUNTED + b"}"),
        (as_response, b'{"model":"m","input":' + _INPUT + b',"store":false,"stream":true}'),
        (
            as_completion,
            b'{"model":"m","prompt":"Be brief.\\n\\nUser: Hi\\n\\nAssistant:","max_tokens":1024,'
            b'"stop":["\\nUser:"],' + _COUNTED + b"}",
        ),
    ],
    ids=["chat", "responses", "completions"],
)
def test_prompt_without_aside_is_sent_as_ever(encode: Callable[[Prompt], bytes], expected: bytes) -> None:
    assert encode(TALK) == expected
