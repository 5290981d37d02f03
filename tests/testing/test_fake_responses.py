"""OpenAI's own client finds all of Responses in the fake model server."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response
from pydantic import BaseModel

from tertulia.parts import ToolCall
from tertulia.testing.fake_openai import FakeOpenAI, Said

WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
CALL = ToolCall(id="call_1", name="weather", arguments='{"city":"Bonn"}')


class Dish(BaseModel):
    name: str
    minutes: int
    hints: list[str]


async def ended(client: Any, answer: Response) -> Response:
    """Ask for an answer until it is over."""
    while answer.status in ("queued", "in_progress"):
        answer = await client.responses.retrieve(answer.id)
    return answer


async def test_whole_answer_is_kept_and_can_be_asked_for(client: Any) -> None:
    answer = await client.responses.create(model="m", input="hello [[1]]", metadata={"a": "b"})
    again = await client.responses.retrieve(answer.id)

    assert answer.output_text.startswith("m=1 ")
    assert (answer.status, answer.metadata) == ("completed", {"a": "b"})
    assert answer.usage
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert (again.id, again.output) == (answer.id, answer.output)


async def test_every_event_has_its_number_and_what_belongs_together_says_so(
    fake: FakeOpenAI, client: Any
) -> None:
    fake.script([Said(text="grüße", reasoning="let me think", calls=(CALL,))])

    async with await client.responses.create(model="m", input="x", tools=[WEATHER], stream=True) as stream:
        events = [event async for event in stream]

    kinds = [event.type for event in events]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert len({getattr(e, "item_id", None) or e.item.id for e in events[2:-1]}) == 3
    for kind, whole in (
        ("response.output_text", "grüße"),
        ("response.reasoning_summary_text", "let me think"),
        ("response.function_call_arguments", CALL.arguments),
    ):
        deltas = [event.delta for event in events if event.type == f"{kind}.delta"]
        assert "".join(deltas) == whole
        assert kinds.count(f"{kind}.done") == 1


async def test_stream_adds_up_to_what_is_kept(fake: FakeOpenAI, client: Any) -> None:
    fake.script([Said(text="text", reasoning="thought", calls=(CALL,))])

    async with client.responses.stream(model="m", input="x", tools=[WEATHER]) as stream:
        whole = await stream.get_final_response()
    kept = await client.responses.retrieve(whole.id)

    assert [item.type for item in whole.output] == ["reasoning", "message", "function_call"]
    assert [item.id for item in kept.output] == [item.id for item in whole.output]
    assert kept.output_text == whole.output_text == "text"
    assert kept.output[0].encrypted_content
    assert kept.output[2].call_id == "call_1"


async def test_what_is_not_to_be_stored_is_not(client: Any) -> None:
    answer = await client.responses.create(model="m", input="x", store=False)

    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(answer.id)


async def test_default_reply_meets_the_schema_that_is_asked_for(client: Any) -> None:
    answer = await client.responses.parse(model="m", input="x", text_format=Dish)

    assert isinstance(answer.output_parsed, Dish)


async def test_tool_that_has_to_be_called_is_called(client: Any) -> None:
    answer = await client.responses.create(model="m", input="x", tools=[WEATHER], tool_choice="required")

    (call,) = answer.output
    assert call.type == "function_call"
    assert (call.name, call.arguments) == ("weather", '{"city":"text"}')


@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        (Said(text="cut sho", reason="length"), "incomplete", "max_output_tokens"),
        (Said(text="he", reason="content_filter"), "incomplete", "content_filter"),
        (Said(failure="server_error"), "failed", None),
        (Said(refusal="no"), "completed", None),
    ],
)
async def test_answers_may_end_in_other_ways(
    fake: FakeOpenAI, client: Any, said: Said, status: str, reason: str | None
) -> None:
    fake.script([said, said])

    answer = await client.responses.create(model="m", input="x")
    async with await client.responses.create(model="m", input="x", stream=True) as stream:
        last = [event async for event in stream][-1]

    assert answer.status == status
    assert last.type == f"response.{status}"
    assert (answer.incomplete_details.reason if answer.incomplete_details else None) == reason
    assert (answer.error is not None) == (status == "failed")


async def test_refusal_is_a_part_of_its_own(fake: FakeOpenAI, client: Any) -> None:
    fake.script([Said(refusal="I would rather not.")])

    async with client.responses.stream(model="m", input="x") as stream:
        events = [event async for event in stream]

    whole = events[-1].response.output[0].content[0]
    assert (whole.type, whole.refusal) == ("refusal", "I would rather not.")
    assert "response.refusal.done" in [event.type for event in events]


async def test_what_follows_an_answer_is_shown_all_before_it(client: Any) -> None:
    first = await client.responses.create(model="m", input="one [[1]]")
    second = await client.responses.create(model="m", input="two [[2]]", previous_response_id=first.id)
    third = await client.responses.create(model="m", input="three [[3]]", previous_response_id=second.id)

    assert third.output_text.startswith("m=3 ")
    assert third.previous_response_id == second.id
    assert third.usage
    assert third.usage.input_tokens_details.cached_tokens > 0


async def test_instructions_are_told_scripts_and_not_carried_over(fake: FakeOpenAI, client: Any) -> None:
    fake.script([lambda request: request["instructions"]])
    told = await client.responses.create(model="m", input="one [[1]]", instructions="Be [[brief.")

    after = await client.responses.create(model="m", input="two [[2]]", previous_response_id=told.id)
    again = await client.responses.create(
        model="m", input="two [[2]]", previous_response_id=told.id, instructions="Be [[kind."
    )
    inputs = await client.responses.input_items.list(told.id)

    assert (told.output_text, told.instructions) == ("Be [[brief.", "Be [[brief.")
    assert after.instructions is None
    assert (after.output_text[:4], again.output_text[:4]) == ("m=3 ", "m=4 ")
    assert [item.content[0].text for item in inputs.data] == ["one [[1]]"]


async def test_results_of_tools_follow_their_calls(fake: FakeOpenAI, client: Any) -> None:
    fake.script([CALL, "sunny"])

    asked = await client.responses.create(model="m", input="x", tools=[WEATHER])
    answer = await client.responses.create(
        model="m",
        previous_response_id=asked.id,
        input=[{"type": "function_call_output", "call_id": "call_1", "output": "{}"}],
    )

    assert answer.output_text == "sunny"


async def test_thoughts_may_be_carried_by_whoever_asks(fake: FakeOpenAI, client: Any) -> None:
    fake.script([Said(reasoning="hm", calls=(CALL,)), "sunny"])

    asked = await client.responses.create(model="m", input="x", store=False)
    answer = await client.responses.create(
        model="m",
        store=False,
        input=[
            {"role": "user", "content": "x"},
            *[item.to_dict() for item in asked.output],
            {"type": "function_call_output", "call_id": "call_1", "output": "{}"},
        ],
    )

    assert answer.output_text == "sunny"


async def test_background_work_goes_through_its_stations(fake: FakeOpenAI, client: Any) -> None:
    fake.hold()
    answer = await client.responses.create(model="m", input="x", background=True)
    held = await client.responses.retrieve(answer.id)
    working = fake.working

    fake.release(answer.id)
    over = await ended(client, answer)

    assert (answer.status, held.status, working) == ("queued", "queued", 1)
    assert (over.status, fake.working) == ("completed", 0)
    assert over.output_text.startswith("m=0 ")


async def test_background_work_takes_the_time_that_it_was_given(fake: FakeOpenAI, client: Any) -> None:
    fake.background_seconds = 3600.0

    answer = await client.responses.create(model="m", input="x", background=True)
    begun = await client.responses.retrieve(answer.id)

    assert (begun.status, begun.output) == ("in_progress", [])


async def test_background_work_goes_on_when_the_client_leaves(fake: FakeOpenAI, client: Any) -> None:
    fake.hold()
    async with await client.responses.create(model="m", input="x", background=True, stream=True) as stream:
        begun = [await anext(aiter(stream)) for _ in range(2)]
    fake.release()

    rest = await client.responses.retrieve(begun[0].response.id, stream=True, starting_after=1)
    events = [event async for event in rest]

    assert [event.type for event in begun] == ["response.created", "response.queued"]
    assert [event.sequence_number for event in events] == list(range(2, len(events) + 2))
    assert events[-1].type == "response.completed"
    assert fake.calls == 1


async def test_background_work_is_cancelled_for_good(fake: FakeOpenAI, client: Any) -> None:
    fake.hold()
    answer = await client.responses.create(model="m", input="x", background=True)

    statuses = [(await client.responses.cancel(answer.id)).status for _ in range(2)]
    fake.release()

    assert statuses == ["cancelled", "cancelled"]
    assert (await client.responses.retrieve(answer.id)).status == "cancelled"
    assert fake.working == 0


async def test_cancelling_ends_the_streams_of_those_who_follow(fake: FakeOpenAI, client: Any) -> None:
    fake.hold()
    async with await client.responses.create(model="m", input="x", background=True, stream=True) as stream:
        first = await anext(aiter(stream))
        await client.responses.cancel(first.response.id)
        rest = [event.type async for event in stream]

    assert rest == ["response.queued"]


@pytest.mark.parametrize("forget", [lambda fake, name: fake.expire(name), lambda fake, _: fake.expire()])
async def test_what_has_expired_is_not_found(
    fake: FakeOpenAI, client: Any, forget: Callable[[FakeOpenAI, str], None]
) -> None:
    answer = await client.responses.create(model="m", input="x")

    forget(fake, answer.id)

    for ask in (client.responses.retrieve, client.responses.cancel, client.responses.delete):
        with pytest.raises(openai.NotFoundError, match=rf"Response with id '{answer.id}' not found\."):
            await ask(answer.id)
    with pytest.raises(openai.BadRequestError) as raised:
        await client.responses.create(model="m", input="y", previous_response_id=answer.id)
    assert (raised.value.code, raised.value.param) == ("previous_response_not_found", "previous_response_id")


async def test_deleted_answers_are_gone(client: Any) -> None:
    answer = await client.responses.create(model="m", input="x")

    await client.responses.delete(answer.id)

    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(answer.id)


async def test_what_was_asked_is_listed_in_pages(client: Any) -> None:
    answer = await client.responses.create(
        model="m", input=[{"role": "user", "content": text} for text in "abcde"]
    )

    page = await client.responses.input_items.list(answer.id, order="asc", limit=2)
    texts = [item.content[0].text async for item in page]

    assert texts == list("abcde")
    assert len(page.data) == 2


async def test_conversation_keeps_what_is_said_in_it(client: Any) -> None:
    talk = await client.conversations.create(
        items=[{"type": "message", "role": "user", "content": "zero [[0]]"}], metadata={"a": "b"}
    )

    answer = await client.responses.create(model="m", input="one [[1]]", conversation=talk.id)
    again = await client.responses.create(model="m", input="two [[2]]", conversation=talk.id)
    items = [item async for item in await client.conversations.items.list(talk.id, order="asc")]

    assert answer.conversation
    assert answer.conversation.id == talk.id
    assert again.output_text.startswith("m=3 ")
    assert [item.role for item in items] == ["user", *["user", "assistant"] * 2]


async def test_conversations_and_their_items_can_be_changed(fake: FakeOpenAI, client: Any) -> None:
    talk = await client.conversations.create()
    added = await client.conversations.items.create(
        talk.id, items=[{"type": "message", "role": "user", "content": text} for text in "ab"]
    )

    found = await client.conversations.items.retrieve(added.first_id, conversation_id=talk.id)
    await client.conversations.items.delete(added.first_id, conversation_id=talk.id)
    changed = await client.conversations.update(talk.id, metadata={"c": "d"})
    left = [item.id async for item in await client.conversations.items.list(talk.id)]
    deleted = await client.conversations.delete(talk.id)

    assert found.id == added.first_id
    assert (changed.metadata, left) == ({"c": "d"}, [added.last_id])
    assert deleted.deleted
    for ask in (client.conversations.retrieve, client.conversations.delete):
        with pytest.raises(openai.NotFoundError):
            await ask(talk.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.create(model="m", input="x", conversation=talk.id)


async def test_background_answer_joins_its_conversation_when_it_is_there(
    fake: FakeOpenAI, client: Any
) -> None:
    talk = await client.conversations.create()
    fake.hold()
    answer = await client.responses.create(model="m", input="x", conversation=talk.id, background=True)
    before = (await client.conversations.items.list(talk.id)).data

    fake.release()
    await ended(client, answer)

    assert before == []
    assert len((await client.conversations.items.list(talk.id)).data) == 2


async def test_conversation_is_answered_in_by_one_at_a_time(fake: FakeOpenAI, client: Any) -> None:
    talk = await client.conversations.create()
    fake.hold()
    answer = await client.responses.create(model="m", input="x", conversation=talk.id, background=True)

    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model="m", input="y", conversation=talk.id)
    fake.release()
    await ended(client, answer)
    last = await client.responses.create(model="m", input="z", conversation=talk.id)

    assert refused.value.code == "conversation_locked"
    assert last.status == "completed"
    assert len((await client.conversations.items.list(talk.id)).data) == 4


@pytest.mark.parametrize("fault", ["500", "cut", "close", "error-event", "failed"])
async def test_conversation_is_free_again_and_unchanged_after_a_failure(
    fake: FakeOpenAI, client: Any, fault: str
) -> None:
    talk = await client.conversations.create()
    fake.fault(fault, tokens=0)

    with contextlib.suppress(openai.OpenAIError, httpx.HTTPError):
        async with await client.responses.create(
            model="m", input="x", conversation=talk.id, stream=True
        ) as stream:
            assert [event.type async for event in stream][-1] != "response.completed"
    before = (await client.conversations.items.list(talk.id)).data
    answer = await client.responses.create(model="m", input="y", conversation=talk.id)

    assert before == []
    assert answer.status == "completed"


async def test_background_work_that_is_cancelled_lets_go_of_its_conversation(
    fake: FakeOpenAI, client: Any
) -> None:
    talk = await client.conversations.create()
    fake.hold()
    answer = await client.responses.create(model="m", input="x", conversation=talk.id, background=True)

    await client.responses.cancel(answer.id)
    fake.release()
    await client.responses.create(model="m", input="y", conversation=talk.id)

    assert len((await client.conversations.items.list(talk.id)).data) == 2


async def test_fault_may_strike_what_is_done_to_conversations(fake: FakeOpenAI, client: Any) -> None:
    fake.fault("503", on="converse")

    with pytest.raises(openai.InternalServerError):
        await client.conversations.create()
    talk = await client.conversations.create()

    assert (await client.conversations.retrieve(talk.id)).id == talk.id
    assert fake.conversed == 2


async def test_stopping_ends_the_work_in_the_background() -> None:
    async with FakeOpenAI() as fake, AsyncOpenAI(base_url=fake.base_url, api_key="x") as client:
        fake.hold()
        await client.responses.create(model="m", input="x", background=True)
    await fake.stop()

    assert len(asyncio.all_tasks()) == 1
