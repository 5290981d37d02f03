"""The client for chat completions against a real server with every fault."""

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace

import pytest

from tertulia.agent_settings import ModelSettings
from tertulia.errors import (
    AnswerGone,
    ContextTooLong,
    ModelBusy,
    ModelError,
    ModelMalformed,
    ModelRefused,
    ModelTimeout,
    ModelUnreachable,
    UnknownModel,
)
from tertulia.llms.base import Finished, Prompt, ReasoningDelta, Shown, TextDelta
from tertulia.llms.openai_chat import OpenAIChat
from tertulia.llms.options import LLMOptions, ModelName
from tertulia.parts import Reasoning, ToolCall
from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.llm_contract import a_prompt, a_question, finished, heard, with_results


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as server:
        yield server


@pytest.fixture
async def chat(fake: FakeOpenAI) -> AsyncIterator[OpenAIChat]:
    client = OpenAIChat("gpt-x", base_url=fake.base_url, api_key="sk-secret")
    yield client
    await client.close()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("400", ModelRefused),
        ("401", ModelRefused),
        ("404", ModelRefused),
        ("408", ModelTimeout),
        ("429", ModelBusy),
        ("500", ModelUnreachable),
        ("503", ModelBusy),
        ("close", ModelUnreachable),
        ("cut", ModelUnreachable),
        ("empty", ModelMalformed),
        ("error-event", ModelUnreachable),
        ("garbage-sse", ModelMalformed),
        ("malformed", ModelMalformed),
        ("quota", ModelRefused),
        ("too-long", ContextTooLong),
    ],
)
async def test_every_fault_is_one_of_our_errors(
    fake: FakeOpenAI, chat: OpenAIChat, fault: str, error: type[ModelError]
) -> None:
    fake.fault(fault)

    with pytest.raises(ModelError) as raised:
        await heard(chat, a_prompt())

    assert type(raised.value) is error
    assert "SECRET" not in str(raised.value)
    assert "sk-secret" not in str(raised.value)
    assert isinstance((await heard(chat, a_prompt()))[-1], Finished)


async def test_busy_model_says_when_to_come_back(fake: FakeOpenAI, chat: OpenAIChat) -> None:
    fake.fault("429", retry_after=7)

    with pytest.raises(ModelBusy) as raised:
        await heard(chat, a_prompt())

    assert raised.value.retry_after == 7
    assert "429 (rate_limit_exceeded)" in str(raised.value)


async def test_nobody_listening_is_unreachable() -> None:
    async with FakeOpenAI() as gone:
        url = gone.base_url
    chat = OpenAIChat("gpt-x", base_url=url)

    with pytest.raises(ModelUnreachable):
        await heard(chat, a_prompt())

    await chat.close()


async def test_body_says_everything_that_was_asked(fake: FakeOpenAI, chat: OpenAIChat) -> None:
    settings = ModelSettings(
        temperature=0.5,
        max_tokens=9,
        top_p=0.9,
        frequency_penalty=0.1,
        presence_penalty=0.2,
        stop=("END",),
        seed=7,
        timeout=30,
    )
    prompt = Prompt(
        messages=(Shown(role="user", text='a "quoted" wörd', name="Zoë Müller"),),
        settings=settings,
        response_schema={"type": "object"},
    )

    await heard(chat, prompt)

    assert fake.requests == [
        {
            "model": "gpt-x",
            "messages": [{"role": "user", "content": 'a "quoted" wörd', "name": "Zo__M_ller"}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0.5,
            "max_tokens": 9,
            "top_p": 0.9,
            "frequency_penalty": 0.1,
            "presence_penalty": 0.2,
            "stop": ["END"],
            "seed": 7,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": False},
            },
        }
    ]


async def test_nobody_reading_along_no_stream_is_asked_for(fake: FakeOpenAI, chat: OpenAIChat) -> None:
    prompt = replace(a_prompt(), wants_deltas=False)

    whole = await finished(chat, prompt)

    assert whole.usage.output_tokens > 0
    assert not {"stream", "stream_options"} & fake.requests[0].keys()


async def test_server_without_stream_options_is_asked_without_them(
    fake: FakeOpenAI, chat: OpenAIChat
) -> None:
    fake.fault("no-stream-options")

    first = await finished(chat, a_prompt())
    await finished(chat, a_prompt())

    assert first.usage.model_calls == 1
    assert ["stream_options" in request for request in fake.requests] == [True, False, False]


async def test_server_that_does_not_stream_is_understood(fake: FakeOpenAI, chat: OpenAIChat) -> None:
    fake.fault("plain")
    fake.script(["Whole at once."])

    events = await heard(chat, a_prompt())

    assert events[0] == TextDelta("Whole at once.")
    assert isinstance(events[-1], Finished)
    assert events[-1].text == "Whole at once."


async def test_nul_and_half_pairs_come_out_replaced(fake: FakeOpenAI, chat: OpenAIChat) -> None:
    fake.fault("nul")
    fake.fault("plain", every=2)
    fake.script(["\x00"])

    assert (await finished(chat, a_prompt())).text == "nul \ufffd and half a pair \ufffd in it"
    assert (await finished(chat, a_prompt())).text == "\ufffd"


async def test_half_pair_in_what_is_shown_does_not_stop_it(fake: FakeOpenAI, chat: OpenAIChat) -> None:
    await heard(chat, Prompt(messages=(Shown(role="user", text="half \ud83d"),)))

    assert fake.requests[0]["messages"] == [{"role": "user", "content": "half \ufffd"}]


async def test_large_prompts_and_answers_pass(fake: FakeOpenAI, chat: OpenAIChat) -> None:
    fake.reply_chars, fake.chunk_chars = 10_000_000, 100_000

    whole = await finished(chat, Prompt(messages=(Shown(role="user", text="[[ " * 1_000_000),)))

    assert whole.text.startswith("m=1000000 ")
    assert len(whole.text) == 10_000_000


async def test_answer_beyond_all_measure_is_refused(fake: FakeOpenAI, chat: OpenAIChat) -> None:
    fake.reply_chars, fake.chunk_chars = 21 * 1024 * 1024, 1024 * 1024

    with pytest.raises(ModelMalformed, match="too long"):
        await heard(chat, a_prompt())


async def test_whole_history_is_sent_exactly_once(fake: FakeOpenAI, chat: OpenAIChat) -> None:
    said = tuple(Shown(role="user", text=f"[[{n}]]") for n in range(50))

    for turn in range(1, 51):
        whole = await finished(chat, Prompt(messages=said[:turn]))
        assert whole.text.startswith(f"m={turn} ")


async def test_leaving_early_hangs_up(fake: FakeOpenAI, chat: OpenAIChat) -> None:
    fake.tps = 50

    async with aclosing(chat.stream(a_prompt())) as events:
        await anext(events)

    while fake.open:  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0)
    assert fake.aborted == 1


async def test_connection_is_used_again(fake: FakeOpenAI, chat: OpenAIChat) -> None:
    for _ in range(5):
        await heard(chat, a_prompt())

    assert fake.stats()["connections"] == 1


async def test_openai_wants_a_key() -> None:
    chat = OpenAIChat("gpt-5-mini")

    with pytest.raises(ModelRefused, match="OPENAI_API_KEY"):
        await heard(chat, a_prompt())


async def test_key_that_no_header_can_carry_is_refused(fake: FakeOpenAI) -> None:
    chat = OpenAIChat("gpt-x", base_url=fake.base_url, api_key="sk-\nsecret")

    with pytest.raises(ModelRefused) as raised:
        await heard(chat, a_prompt())

    assert "sk-" not in str(raised.value)
    await chat.close()


def test_model_must_have_a_name() -> None:
    with pytest.raises(UnknownModel):
        OpenAIChat.build(ModelName("openai-chat", ""), LLMOptions())


async def test_provider_s_own_variables_are_read(fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", fake.base_url + "/")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-outside")
    chat = OpenAIChat.build(ModelName("openai-chat", "gpt-x"), LLMOptions())

    assert (await finished(chat, a_prompt())).model == "fake-1"
    assert chat.name == "openai-chat:gpt-x"
    await chat.close()


async def test_proxy_of_the_environment_is_used(fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{fake.port}")
    chat = OpenAIChat("gpt-x", base_url="http://model.invalid/v1")

    assert (await finished(chat, a_prompt())).model == "fake-1"
    await chat.close()


async def test_proxy_is_not_asked_for_this_host(fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:1")
    chat = OpenAIChat("gpt-x", base_url=fake.base_url)

    assert (await finished(chat, a_prompt())).model == "fake-1"
    await chat.close()


def test_program_may_end_its_loop_without_closing() -> None:
    chat = OpenAIChat("gpt-x", base_url="http://127.0.0.1:9/v1")
    complaints: list[object] = []

    async def talk() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        async with FakeOpenAI() as fake:
            mine = OpenAIChat("gpt-x", base_url=fake.base_url)
            await heard(mine, a_prompt())
            kept.append(mine)
        with pytest.raises(ModelUnreachable):
            await heard(chat, a_prompt())

    kept: list[OpenAIChat] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(talk())
        asyncio.run(talk())
        kept.clear()
        asyncio.run(chat.close())
        gc.collect()

    assert complaints == []


async def test_hundred_ask_at_once(fake: FakeOpenAI, chat: OpenAIChat) -> None:
    fake.latency = 0.05

    answers = await asyncio.gather(*(heard(chat, a_prompt(f"number {n}")) for n in range(100)))

    assert len(answers) == 100
    assert fake.max_open == 100
    assert fake.stats()["by_message"] == {f"number {n}": 1 for n in range(100)}


@pytest.mark.parametrize("say", ["", " and more"])
async def test_function_in_a_script_sees_the_request(fake: FakeOpenAI, chat: OpenAIChat, say: str) -> None:
    answer: Callable[[dict[str, object]], str] = lambda body: f"{body['model']}{say}"  # noqa: E731
    fake.script([answer])

    assert (await finished(chat, a_prompt())).text == f"gpt-x{say}"


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_tools_are_offered_called_and_answered(fake: FakeOpenAI, chat: OpenAIChat, size: int) -> None:
    calls = (
        ToolCall(id="call_a", name="weather", arguments='{"city": "Zürich \\ud83d\\ude00"}'),
        ToolCall(id="call_b", name="clock", arguments="{}"),
    )
    fake.chunk_chars = size
    fake.script([list(calls), "It rains."])

    asked = await finished(chat, a_question())
    told = await finished(chat, with_results(a_question(), asked.calls))

    assert asked.calls == calls
    assert told.text == "It rains."
    first, second = (request["messages"] for request in fake.requests)
    assert isinstance(first, list)
    assert isinstance(second, list)
    assert second[:1] == first
    assert [message["role"] for message in second] == ["user", "assistant", "tool", "tool"]
    assert [tool["function"]["name"] for tool in fake.requests[0]["tools"]] == ["weather", "clock"]


async def test_thoughts_come_before_words(fake: FakeOpenAI, chat: OpenAIChat) -> None:
    fake.script([Finished(text="So.", model="m", reasoning=(Reasoning(text="Hm."),))])

    *told, whole = await heard(chat, a_prompt())

    assert isinstance(whole, Finished)
    assert isinstance(told[0], ReasoningDelta)
    assert (whole.text, whole.reasoning) == ("So.", (Reasoning(text="Hm."),))
    assert whole.usage.output_tokens >= whole.usage.reasoning_tokens


async def test_answer_that_was_kept_cannot_be_followed(fake: FakeOpenAI, chat: OpenAIChat) -> None:
    with pytest.raises(AnswerGone):
        await heard(chat, replace(a_prompt(), follows="resp_1"))

    assert fake.calls == 0


async def test_call_that_was_cut_is_made_anew(fake: FakeOpenAI, chat: OpenAIChat) -> None:
    await finished(chat, replace(a_prompt(), resumes="resp_1"))

    assert fake.calls == 1


async def test_models_of_a_server_are_listed(fake: FakeOpenAI) -> None:
    assert "fake-1" in await OpenAIChat.list_models("openai-chat", LLMOptions(base_url=fake.base_url))


async def test_models_are_not_listed_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)

    with pytest.raises(ModelRefused, match="OPENAI_API_KEY"):
        await OpenAIChat.list_models("openai-chat", LLMOptions())
