"""The client for the Responses API against a real server with every fault."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace

import orjson
import pytest

from tertulia.agent_settings import ModelSettings
from tertulia.definitions import ToolSpec
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
from tertulia.llms import responses_following
from tertulia.llms.base import Begun, Finished, Prompt, ReasoningDelta, Shown, TextDelta
from tertulia.llms.models import Models
from tertulia.llms.openai_chat import OpenAIChat
from tertulia.llms.openai_responses import OpenAIResponses
from tertulia.llms.options import LLMOptions, ModelName
from tertulia.parts import Part, Reasoning, Text, ToolCall, ToolResult
from tertulia.testing.fake_openai import FakeOpenAI, Said
from tertulia.testing.llm_contract import a_prompt, finished, heard, with_results

LOOK_UP = ToolSpec(name="look_up", description="Find it.")
ALONE = ModelSettings(background=True)
HELLO = orjson.dumps(
    {
        "id": "resp_1",
        "status": "completed",
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "Hi."}]}],
    }
)


class Pauses:
    """A pause that takes no time, and acts instead."""

    def __init__(self) -> None:
        self.taken: list[float] = []
        self.then: Callable[[], object] = lambda: None

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)
        self.then()
        await asyncio.sleep(0)


class Server:
    """A server that answers as it is told, once a connection."""

    def __init__(self, answer: Callable[[str, bytes], tuple[int, bytes]]) -> None:
        self._say = answer

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lengths = [line[15:] for line in head.split("\r\n") if line.lower().startswith("content-length:")]
        status, said = self._say(head.split(" ")[1], await reader.readexactly(int((lengths or ["0"])[0])))
        writer.write(
            b"HTTP/1.1 %d Told\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(said))
        )
        writer.write(said)
        await writer.drain()
        writer.close()


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as server:
        yield server


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
async def gpt(fake: FakeOpenAI, pauses: Pauses) -> AsyncIterator[OpenAIResponses]:
    client = OpenAIResponses("gpt-x", base_url=fake.base_url, api_key="sk-secret", pause=pauses)
    yield client
    await client.close()


def in_background(text: str = "Say hello.") -> Prompt:
    return replace(a_prompt(text), settings=ALONE)


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)


# Answers


async def test_plain_answer_is_streamed(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    fake.script(["Hello, how are you?"])

    whole = await finished(gpt, a_prompt())

    assert whole == Finished(text="Hello, how are you?", model="fake-1", usage=whole.usage)
    assert fake.requests[0]["store"] is False


async def test_nobody_reading_along_no_stream_is_asked_for(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    whole = await finished(gpt, replace(a_prompt(), wants_deltas=False))

    assert whole.usage.output_tokens > 0
    assert "stream" not in fake.requests[0]


async def test_server_that_does_not_stream_is_understood(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    fake.fault("plain")
    fake.script(["Whole at once."])

    events = await heard(gpt, a_prompt())

    assert events[0] == TextDelta("Whole at once.")


async def test_nul_and_half_pairs_come_out_replaced(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    fake.fault("nul", times=2)

    streamed = await finished(gpt, a_prompt())
    whole = await finished(gpt, replace(a_prompt(), wants_deltas=False))

    assert streamed.text == whole.text == "nul \ufffd and half a pair \ufffd in it"


async def test_half_a_letter_does_not_stop_it(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    fake.fault("bad-utf8")

    assert "\ufffd" in (await finished(gpt, a_prompt())).text


async def test_large_prompts_and_answers_pass(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    fake.reply_chars, fake.chunk_chars = 10_000_000, 100_000

    whole = await finished(gpt, Prompt(messages=(Shown(role="user", text="[[ " * 1_000_000),)))

    assert whole.text.startswith("m=1000000 ")
    assert len(whole.text) == 10_000_000


async def test_answer_beyond_all_measure_is_refused(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    fake.reply_chars, fake.chunk_chars = 21 * 1024 * 1024, 1024 * 1024

    with pytest.raises(ModelMalformed, match="too long"):
        await heard(gpt, a_prompt())


async def test_whole_history_is_sent_exactly_once(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    said = tuple(Shown(role="user", text=f"[[{n}]]") for n in range(50))

    for turn in range(1, 51):
        whole = await finished(gpt, Prompt(messages=said[:turn]))
        assert whole.text.startswith(f"m={turn} ")


async def test_shape_of_the_answer_is_asked_for(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    schema = {"type": "object", "properties": {"n": {"const": 7}}, "required": ["n"]}

    whole = await finished(gpt, replace(a_prompt(), response_schema=schema))

    assert whole.text == '{"n":7}'


async def test_model_that_will_not_is_a_refusal(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    fake.fault("refusal")

    with pytest.raises(ModelRefused, match="declined"):
        await heard(gpt, a_prompt())


async def test_answer_that_was_too_long_says_so(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    fake.script([Said(text="Once upon a", reason="length")])

    assert (await finished(gpt, a_prompt())).finish_reason == "length"


async def test_turn_with_tools_and_reasoning_goes_on(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    wish = ToolCall(id="call_1", name="look_up", arguments='{"q":1}')
    fake.script([Said(reasoning="I should look it up.", calls=(wish,)), "42."])
    prompt = replace(a_prompt(), tools=(LOOK_UP,), settings=ModelSettings(reasoning_effort="low"))

    asked = await heard(gpt, prompt)
    first = asked[-1]
    assert isinstance(first, Finished)
    second = await finished(gpt, with_results(prompt, first.calls, thoughts=first.reasoning))

    assert "".join(e.text for e in asked if isinstance(e, ReasoningDelta)) == "I should look it up."
    assert (first.calls, first.finish_reason, first.text) == ((wish,), "tool_calls", "")
    assert first.usage.reasoning_tokens > 0
    assert second.text == "42."
    kinds = [item.get("type", "message") for item in fake.requests[1]["input"]]
    assert kinds[-3:] == ["reasoning", "function_call", "function_call_output"]


async def test_reasoning_that_led_to_nothing_is_not_given_back(
    fake: FakeOpenAI, gpt: OpenAIResponses
) -> None:
    thought = Reasoning(provider="openai", opaque='{"type":"reasoning","id":"rs_1","summary":[]}')
    empty = Shown(role="assistant", text="", parts=(thought,))

    await finished(gpt, replace(a_prompt(), messages=(empty, *a_prompt().messages)))

    assert fake.requests[0]["input"][0] == {"role": "assistant", "content": ""}


@pytest.mark.parametrize("opaque", ['"encrypted_content":"of another model"', '"status":"completed"'])
async def test_reasoning_that_is_refused_is_left_out(
    fake: FakeOpenAI, gpt: OpenAIResponses, opaque: str
) -> None:
    thought = Reasoning(provider="openai", opaque=f'{{"type":"reasoning","id":"rs_1","summary":[],{opaque}}}')
    shown = Shown(role="assistant", text="Yes.", parts=(thought, Text(text="Yes.")))

    whole = await finished(gpt, replace(a_prompt(), messages=(shown, *a_prompt().messages)))

    assert whole.text
    assert [len(request["input"]) for request in fake.requests] == [5, 4]


# Answers that are kept


async def test_kept_answer_can_be_followed_with_only_what_is_new(
    fake: FakeOpenAI, gpt: OpenAIResponses
) -> None:
    keeping = ModelSettings(store=True)

    first = await finished(gpt, replace(a_prompt("[[ one"), settings=keeping))
    new = (Shown(role="user", text="[[ two"),)
    second = await finished(gpt, Prompt(messages=new, settings=keeping, follows=first.external_id))

    assert first.external_id
    assert second.text.startswith("m=2 ")
    assert len(fake.requests[1]["input"]) == 1
    assert second.usage.cached_tokens > 0


async def test_answer_that_is_not_kept_has_no_id(gpt: OpenAIResponses) -> None:
    assert (await finished(gpt, a_prompt())).external_id is None


async def test_answer_that_is_kept_no_longer_is_gone(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    first = await finished(gpt, replace(a_prompt(), settings=ModelSettings(store=True)))
    fake.expire()

    with pytest.raises(AnswerGone):
        await heard(gpt, replace(a_prompt(), follows=first.external_id))


# Work in the background


async def test_work_in_the_background_is_begun_and_streamed(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    events = await heard(gpt, in_background())

    begun, *deltas, whole = events
    assert isinstance(begun, Begun)
    assert isinstance(whole, Finished)
    assert all(isinstance(delta, TextDelta) for delta in deltas)
    assert whole.external_id == begun.external_id
    assert (fake.calls, fake.fetches) == (1, 0)


@pytest.mark.parametrize("tokens", [None, 0, 1, 5, 99])
async def test_cut_connection_is_gone_on_with(
    fake: FakeOpenAI, gpt: OpenAIResponses, tokens: int | None
) -> None:
    fake.fault("cut", tokens=tokens)

    events = await heard(gpt, in_background())

    whole = events[-1]
    assert isinstance(whole, Finished)
    assert whole.text == "".join(event.text for event in events if isinstance(event, TextDelta))
    assert len(whole.text) == fake.reply_chars
    assert sum(isinstance(event, Begun) for event in events) == 1
    assert (fake.calls, fake.fetches) == (1, 1)


async def test_connection_that_is_cut_again_and_again_is_gone_on_with(
    fake: FakeOpenAI, gpt: OpenAIResponses
) -> None:
    fake.fault("cut", tokens=5)
    fake.fault("cut", on="fetch", tokens=5, times=10)

    whole = await finished(gpt, in_background())

    assert len(whole.text) == fake.reply_chars
    assert (fake.calls, fake.fetches) == (1, 11)


@pytest.mark.parametrize("fault", ["429", "500", "503", "408", "close"])
async def test_provider_that_fails_for_a_while_is_asked_again_for_the_same(
    fake: FakeOpenAI, gpt: OpenAIResponses, pauses: Pauses, fault: str
) -> None:
    fake.fault("cut", tokens=5)
    fake.fault(fault, on="fetch", times=3)

    whole = await finished(gpt, in_background())

    assert len(whole.text) == fake.reply_chars
    assert (fake.calls, fake.fetches) == (1, 4)
    assert pauses.taken == sorted(pauses.taken)


async def test_provider_that_says_when_to_come_back_is_heard(
    fake: FakeOpenAI, gpt: OpenAIResponses, pauses: Pauses
) -> None:
    fake.fault("cut", tokens=5)
    fake.fault("429", on="fetch", retry_after=7)
    fake.fault("503", on="fetch", retry_after=10_000)

    await finished(gpt, in_background())

    assert pauses.taken == [7, 60]


async def test_provider_that_fails_for_good_is_not_asked_for_ever(
    fake: FakeOpenAI, gpt: OpenAIResponses
) -> None:
    fake.fault("cut", tokens=5)
    fake.fault("503", on="fetch", times=None)

    with pytest.raises(ModelBusy):
        await heard(gpt, in_background())

    assert (fake.calls, fake.fetches) == (1, 6)


async def test_key_that_was_withdrawn_in_between_is_refused(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    fake.fault("cut", tokens=5)
    fake.fault("401", on="fetch", times=None)

    with pytest.raises(ModelRefused):
        await heard(gpt, in_background())


async def test_answer_that_is_lost_in_between_is_unreachable(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    fake.fault("cut", tokens=5)
    fake.fault("gone", on="fetch")

    with pytest.raises(ModelUnreachable, match="lost"):
        await heard(gpt, in_background())


async def test_server_that_cannot_stream_on_is_looked_at_until_it_is_done(
    fake: FakeOpenAI, gpt: OpenAIResponses, pauses: Pauses
) -> None:
    fake.hold()
    fake.fault("plain")
    fake.fault("400", on="fetch", match="stream=true", times=None)
    pauses.then = lambda: fake.release() if len(pauses.taken) == 5 else None

    events = await heard(gpt, in_background())

    assert isinstance(events[0], Begun)
    whole = events[-1]
    assert isinstance(whole, Finished)
    assert len(whole.text) == fake.reply_chars
    assert fake.calls == 1
    assert max(pauses.taken) <= 5


async def test_look_that_is_cut_is_taken_again(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    fake.fault("cut", tokens=5)
    fake.fault("400", on="fetch", match="stream=true", times=None)
    fake.fault("cut", on="fetch", times=3)

    whole = await finished(gpt, in_background())

    assert len(whole.text) == fake.reply_chars
    assert (fake.calls, fake.fetches) == (1, 5)


async def test_stream_without_anything_new_is_not_asked_for_again_and_again(pauses: Pauses) -> None:
    asked: list[str] = []

    def answer(path: str, _body: bytes) -> tuple[int, bytes]:
        asked.append(path.removeprefix("/v1/responses"))
        if "stream=true" in path:
            return 200, b""
        if len(asked) == 1:
            return (
                200,
                b'data: {"type":"response.created","response":{"id":"resp_1"},"sequence_number":0}\n\n',
            )
        return 200, HELLO if len(asked) > 5 else b'{"id":"resp_1","status":"in_progress"}'

    async with Server(answer) as url:
        gpt = OpenAIResponses("gpt-x", base_url=url, pause=pauses)
        events = await heard(gpt, in_background())
        await gpt.close()

    assert events[:2] == [Begun("resp_1"), TextDelta("Hi.")]
    assert asked == ["", *["/resp_1?stream=true&starting_after=0"] * 2, *["/resp_1"] * 3]


async def test_answer_that_never_comes_is_not_looked_for_for_ever(
    pauses: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses_following, "_MOST_LOOKS", 9)
    waiting = b'{"id":"resp_1","status":"queued","output":[]}'

    async with Server(lambda _path, _body: (200, waiting)) as url:
        gpt = OpenAIResponses("gpt-x", base_url=url, pause=pauses)
        with pytest.raises(ModelTimeout):
            await heard(gpt, in_background())
        await gpt.close()

    assert len(pauses.taken) == 9


async def test_server_that_numbers_nothing_is_looked_at(pauses: Pauses) -> None:
    asked: list[str] = []

    def answer(path: str, _body: bytes) -> tuple[int, bytes]:
        asked.append(path.removeprefix("/v1/responses"))
        created = b'data: {"type":"response.created","response":{"id":"resp_1"}}\n\n'
        word = b'data: {"type":"response.output_text.delta","delta":"H"}\n\n'
        return 200, HELLO if len(asked) > 1 else created + word

    async with Server(answer) as url:
        gpt = OpenAIResponses("gpt-x", base_url=url, pause=pauses)
        events = await heard(gpt, in_background())
        await gpt.close()

    assert events[:3] == [Begun("resp_1"), TextDelta("H"), TextDelta("i.")]
    assert asked == ["", "/resp_1"]


async def test_leaving_early_does_not_stop_what_was_begun(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    fake.hold()
    async with aclosing(gpt.stream(in_background())) as events:
        begun = await anext(events)
    assert isinstance(begun, Begun)
    fake.release()

    taken_up = await heard(gpt, replace(in_background(), resumes=begun.external_id))

    assert not [event for event in taken_up if isinstance(event, Begun)]
    whole = taken_up[-1]
    assert isinstance(whole, Finished)
    assert len(whole.text) == fake.reply_chars
    assert whole.external_id == begun.external_id
    assert fake.calls == 1


async def test_finished_answer_is_taken_whole(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    first = await finished(gpt, in_background())

    events = await heard(gpt, replace(in_background(), resumes=first.external_id))

    assert events == [TextDelta(first.text), first]
    assert (fake.calls, fake.fetches) == (1, 1)


async def test_answer_that_is_there_no_more_is_asked_for_anew(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    first = await finished(gpt, in_background())
    fake.expire()

    events = await heard(gpt, replace(in_background(), resumes=first.external_id))

    begun = [event.external_id for event in events if isinstance(event, Begun)]
    assert len(begun) == 1
    assert begun != [first.external_id]
    assert fake.calls == 2


async def test_answer_that_failed_is_asked_for_anew(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    fake.fault("failed")
    async with aclosing(gpt.stream(in_background())) as events:
        begun = await anext(events)
        with pytest.raises(ModelUnreachable):
            await anext(events)
    assert isinstance(begun, Begun)

    whole = await finished(gpt, replace(in_background(), resumes=begun.external_id))

    assert len(whole.text) == fake.reply_chars
    assert fake.calls == 2


async def test_answer_that_begins_and_fails_at_once_is_told_to_have_begun() -> None:
    said = (
        b'data: {"type":"response.created","response":{"id":"resp_1"}}\n\n'
        b'data: {"type":"response.failed","response":{"id":"resp_1","error":{"code":"server_error"}}}\n\n'
    )

    async with Server(lambda _path, _body: (200, said)) as url:
        gpt = OpenAIResponses("gpt-x", base_url=url)
        async with aclosing(gpt.stream(in_background())) as events:
            begun = await anext(events)
            with pytest.raises(ModelUnreachable):
                await anext(events)
        await gpt.close()

    assert begun == Begun("resp_1")


@pytest.mark.parametrize("key", ["sk-old", None])
@pytest.mark.parametrize("plug", [OpenAIResponses, OpenAIChat])
async def test_refused_key_is_told_with_where_to_look(
    fake: FakeOpenAI, plug: type[OpenAIResponses | OpenAIChat], key: str | None
) -> None:
    fake.fault("401")
    llm = plug("gpt-x", base_url=fake.base_url, api_key=key)

    with pytest.raises(ModelRefused) as raised:
        await heard(llm, a_prompt())
    await llm.close()

    assert str(raised.value).endswith("see to OPENAI_API_KEY" if key else "set OPENAI_API_KEY")


async def test_id_that_leads_elsewhere_harms_nobody(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    whole = await finished(gpt, replace(in_background(), resumes="../models?x=1#y"))

    assert len(whole.text) == fake.reply_chars


async def test_busy_provider_keeps_what_is_to_be_taken_up(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    first = await finished(gpt, in_background())
    fake.fault("503", on="fetch")

    with pytest.raises(ModelBusy):
        await heard(gpt, replace(in_background(), resumes=first.external_id))

    assert fake.calls == 1


async def test_abandoned_work_is_stopped(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    fake.hold()
    async with aclosing(gpt.stream(in_background())) as events:
        begun = await anext(events)
    assert isinstance(begun, Begun)

    await gpt.abandon(begun.external_id)
    await gpt.abandon(begun.external_id)

    assert fake.working == 0


async def test_abandoning_never_raises(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    async with FakeOpenAI() as gone:
        nobody = OpenAIResponses("gpt-x", base_url=gone.base_url)

    await gpt.abandon("resp_nowhere")
    await nobody.abandon("resp_nowhere")

    await nobody.close()


# What servers lack


@pytest.mark.parametrize(
    ("param", "settings"),
    [
        ("include", ModelSettings(reasoning_effort="low")),
        ("reasoning.summary", ModelSettings(reasoning_effort="low")),
        ("background", ModelSettings(background=True)),
    ],
)
async def test_what_a_server_lacks_is_asked_for_once(param: str, settings: ModelSettings) -> None:
    asked: list[bytes] = []

    def answer(_path: str, body: bytes) -> tuple[int, bytes]:
        asked.append(body)
        if b'"%s"' % param.rpartition(".")[2].encode() in body:
            return 400, b'{"error":{"param":"%s"}}' % param.encode()
        return 200, HELLO

    async with Server(answer) as url:
        gpt = OpenAIResponses("gpt-x", base_url=url)
        first = await finished(gpt, replace(a_prompt(), settings=settings))
        await finished(gpt, replace(a_prompt(), settings=settings))
        await gpt.close()

    assert first.text == "Hi."
    assert len(asked) == 3


# Failures


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
        ("failed", ModelUnreachable),
        ("garbage-sse", ModelMalformed),
        ("malformed", ModelMalformed),
        ("quota", ModelRefused),
        ("too-long", ContextTooLong),
    ],
)
@pytest.mark.parametrize("wants_deltas", [True, False], ids=["streamed", "whole"])
async def test_every_fault_is_one_of_our_errors(
    fake: FakeOpenAI, gpt: OpenAIResponses, fault: str, error: type[ModelError], wants_deltas: bool
) -> None:
    fake.fault(fault)
    prompt = replace(a_prompt(), wants_deltas=wants_deltas)

    with pytest.raises(ModelError) as raised:
        await heard(gpt, prompt)

    assert type(raised.value) is error
    assert "SECRET" not in str(raised.value)
    assert "sk-secret" not in str(raised.value)
    assert (await finished(gpt, prompt)).text


@pytest.mark.parametrize("fault", ["429", "500", "503", "408", "close", "malformed", "garbage-sse", "empty"])
async def test_fault_that_passes_is_got_over(fake: FakeOpenAI, fault: str) -> None:
    fake.fault(fault, retry_after=0.01)
    gpt = Models("openai:gpt-x", options=LLMOptions(base_url=fake.base_url, whole_seconds=30)).get(None)

    async with asyncio.timeout(32):
        whole = await finished(gpt, a_prompt())

    assert len(whole.text) == fake.reply_chars
    assert fake.calls == 2
    await gpt.close()


@pytest.mark.parametrize(
    ("fault", "settings", "error"),
    [
        ("401", {}, ModelRefused),
        ("400", {}, ModelRefused),
        ("429", {"retry_after": 90}, ModelBusy),
        ("500", {}, ModelUnreachable),
        ("hang", {}, ModelTimeout),
        ("slow", {"seconds": 60}, ModelTimeout),
        ("stall", {"tokens": 2}, ModelTimeout),
        ("drip", {"seconds": 1}, ModelTimeout),
        ("cut", {"tokens": 3}, ModelUnreachable),
        ("malformed", {}, ModelMalformed),
        ("empty", {}, ModelMalformed),
        ("failed", {}, ModelUnreachable),
    ],
)
@pytest.mark.parametrize("background", [False, True], ids=["plain", "background"])
async def test_fault_that_stays_ends_in_time(
    fake: FakeOpenAI, fault: str, settings: dict[str, object], error: type[ModelError], background: bool
) -> None:
    fake.fault(fault, times=None, **settings)
    fake.fault(fault, times=None, on="fetch", **settings)
    gpt = Models("openai:gpt-x", options=LLMOptions(base_url=fake.base_url, whole_seconds=0.4)).get(None)
    prompt = replace(a_prompt(), settings=ModelSettings(background=background))

    with pytest.raises(ModelError) as raised:
        async with asyncio.timeout(2.4):
            await heard(gpt, prompt)

    assert type(raised.value) is error or isinstance(raised.value, ModelTimeout)
    assert "SECRET" not in str(raised.value)
    fake.clear_faults()
    assert (await finished(gpt, replace(prompt, settings=ModelSettings(timeout=30)))).text
    await gpt.close()


async def test_slow_first_word_is_asked_for_again(fake: FakeOpenAI) -> None:
    fake.fault("slow", seconds=60)
    options = LLMOptions(base_url=fake.base_url, whole_seconds=30, first_token_seconds=0.5)
    gpt = Models("openai:gpt-x", options=options).get(None)

    assert (await finished(gpt, a_prompt())).text

    assert fake.calls == 2
    await gpt.close()


async def test_what_was_begun_is_not_paid_twice_by_asking_again(fake: FakeOpenAI) -> None:
    fake.hold()
    options = LLMOptions(base_url=fake.base_url, whole_seconds=30, first_token_seconds=0.5)
    gpt = Models("openai:gpt-x", options=options).get(None)

    asked = asyncio.create_task(heard(gpt, in_background()))
    await until(lambda: fake.fetches)
    fake.release()
    begun, *_, whole = await asked

    assert isinstance(begun, Begun)
    assert isinstance(whole, Finished)
    assert whole.external_id == begun.external_id
    assert fake.calls == 1
    await gpt.close()


async def test_busy_model_says_when_to_come_back(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    fake.fault("429", retry_after=7)

    with pytest.raises(ModelBusy) as raised:
        await heard(gpt, a_prompt())

    assert raised.value.retry_after == 7


async def test_leaving_early_hangs_up(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    fake.tps = 50

    async with aclosing(gpt.stream(a_prompt())) as events:
        await anext(events)

    await until(lambda: not fake.open)
    assert fake.aborted == 1


async def test_connection_is_used_again(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    for _ in range(3):
        await heard(gpt, a_prompt())
        await heard(gpt, in_background())

    assert fake.stats()["connections"] == 1


# Names and keys


async def test_openai_wants_a_key() -> None:
    gpt = OpenAIResponses("gpt-5-mini")

    with pytest.raises(ModelRefused, match="OPENAI_API_KEY"):
        await heard(gpt, a_prompt())


async def test_openai_wants_a_key_before_it_lists_its_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)

    with pytest.raises(ModelRefused, match="OPENAI_API_KEY"):
        await OpenAIResponses.list_models("openai", LLMOptions())


async def test_models_are_listed(fake: FakeOpenAI) -> None:
    names = await OpenAIResponses.list_models("openai", LLMOptions(base_url=fake.base_url))

    assert "fake-1" in names


@pytest.mark.parametrize(
    ("status", "said", "error"),
    [
        (401, b'{"error":{"code":"invalid_api_key","message":"SECRET"}}', ModelRefused),
        (500, b"", ModelUnreachable),
        (200, b"<html>", ModelMalformed),
        (200, b'{"data":7}', ModelMalformed),
    ],
)
async def test_list_that_cannot_be_had_is_one_of_our_errors(
    status: int, said: bytes, error: type[ModelError]
) -> None:
    async with Server(lambda _path, _body: (status, said)) as url:
        with pytest.raises(error) as raised:
            await OpenAIResponses.list_models("openai", LLMOptions(base_url=url))

    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize("key", ["sk-old", None])
async def test_list_that_a_key_is_refused_for_is_told_with_where_to_look(
    monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    async with Server(lambda _path, _body: (401, b"{}")) as url:
        with pytest.raises(ModelRefused) as raised:
            await OpenAIResponses.list_models("openai", LLMOptions(base_url=url, api_key=key))

    assert str(raised.value).endswith("see to OPENAI_API_KEY" if key else "set OPENAI_API_KEY")


@pytest.mark.parametrize("plug", [OpenAIResponses, OpenAIChat])
async def test_whether_there_is_a_key_is_found_out_without_asking(
    fake: FakeOpenAI, plug: type[OpenAIResponses | OpenAIChat]
) -> None:
    lacking, elsewhere = plug("gpt-x"), plug("gpt-x", base_url=fake.base_url)

    with pytest.raises(ModelRefused, match="set OPENAI_API_KEY"):
        await lacking.try_open()
    await elsewhere.try_open()

    assert fake.calls == 0


def test_model_must_have_a_name() -> None:
    with pytest.raises(UnknownModel):
        OpenAIResponses.build(ModelName("openai", ""), LLMOptions())


async def test_provider_s_own_variables_are_read(fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", fake.base_url + "/")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-outside")
    gpt = OpenAIResponses.build(ModelName("openai", "gpt-x"), LLMOptions())

    assert (await finished(gpt, a_prompt())).model == "fake-1"
    assert gpt.name == "openai:gpt-x"
    await gpt.close()


async def test_any_order_of_a_turn_s_parts_is_accepted(fake: FakeOpenAI, gpt: OpenAIResponses) -> None:
    wish = ToolCall(id="an id of another provider, " + "x" * 99, name="look up!", arguments="no JSON")
    result = ToolResult(call_id=wish.id, name=wish.name, text="")
    foreign = Reasoning(text="Hm.", provider="anthropic", opaque="{}")
    parts: tuple[Part, ...] = (foreign, Text(text=""), wish, Text(text="Wait."))
    messages = (
        Shown(role="assistant", text="Wait.", parts=parts),
        Shown(role="tool", text="", parts=(result,)),
        *a_prompt().messages,
    )

    assert (await finished(gpt, Prompt(messages=messages))).text
