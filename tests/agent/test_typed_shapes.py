"""Answers are of the type that was asked for: what it refuses is asked for again, and is no answer."""

from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from pydantic import BaseModel, field_validator
from pydantic.dataclasses import dataclass as checked_dataclass
from typing_extensions import TypedDict

from tertulia.agent import Agent
from tertulia.errors import InvalidShape, ShapeMismatch
from tertulia.events import TurnFinished
from tertulia.llms.scripted import ScriptedLLM
from tertulia.memory.history.service import ServiceHistoryProvider
from tertulia.serving import Server
from tertulia.settings import Settings
from tests.agent.company import Notebook, texts


class Party(BaseModel):
    """A number of people that can sit opposite each other."""

    guests: int

    @field_validator("guests")
    @classmethod
    def is_even(cls, guests: int) -> int:
        """Refuse what no schema does."""
        if guests % 2:
            raise ValueError("somebody would sit alone")
        return guests


@checked_dataclass
class Table:
    seats: int

    @field_validator("seats")
    @classmethod
    def is_even(cls, seats: int) -> int:
        if seats % 2:
            raise ValueError("somebody would sit alone")
        return seats


@dataclass
class Order:
    dish: str
    guests: int


class Wish(TypedDict):
    dish: str


REFUSED = ['{"guests":3}', '{"guests":5}', '{"guests":7}']


@pytest.mark.parametrize(("shape", "name"), [(Party, "guests"), (Table, "seats")])
async def test_answer_that_its_type_refuses_is_asked_for_again_with_the_types_own_words(
    shape: Any, name: str
) -> None:
    llm = ScriptedLLM([f'{{"{name}":3}}', f'{{"{name}":5}}', f'{{"{name}":4}}'])
    async with Agent(llm, response_shape=shape) as agent:
        session = agent.create_session()
        reply = await agent.run("For how many?", session=session)

        assert reply.value == shape(**{name: 4})
        assert await texts(session) == ["For how many?", f'{{"{name}":4}}']
        assert reply.usage.model_calls == 3
    for prompt in llm.prompts[1:]:
        assert f"{name}: Value error, somebody would sit alone" in str(prompt[-1]["content"])


async def test_answer_that_its_type_never_takes_is_no_answer() -> None:
    llm = ScriptedLLM([*REFUSED, '{"guests":2}'])
    async with Agent(llm, response_shape=Party) as agent:
        session = agent.create_session()
        with pytest.raises(ShapeMismatch, match="somebody would sit alone") as raised:
            await agent.run("For how many?", session=session)

        assert await texts(session) == ["For how many?"]
        assert len(llm.prompts) == 3
        assert raised.value.run_id is not None
        reply = await agent.retry(raised.value.run_id)

        assert reply.value == Party(guests=2)
        assert await texts(session) == ["For how many?", '{"guests":2}']


async def test_stream_tells_of_no_message_that_the_type_refuses() -> None:
    async with Agent(ScriptedLLM(['{"guests":3}', '{"guests":4}']), response_shape=Party) as agent:
        events = [event async for event in agent.run_stream("For how many?")]
    told = [event.message.text for event in events if isinstance(event, TurnFinished)]
    refused: list[Any] = []
    async with Agent(ScriptedLLM(list(REFUSED)), response_shape=Party) as agent:
        with pytest.raises(ShapeMismatch):
            async for event in agent.run_stream("For how many?"):
                refused.append(event)

    assert told == ['{"guests":4}']
    assert not [event for event in refused if isinstance(event, TurnFinished)]


async def test_what_the_type_refuses_reaches_no_history_elsewhere() -> None:
    notebook = Notebook()
    async with Agent(ScriptedLLM(list(REFUSED)), response_shape=Party, history=notebook) as agent:
        with pytest.raises(ShapeMismatch):
            await agent.run("For how many?", session=agent.create_session())

    assert notebook.texts() == ["For how many?"]


async def test_type_is_asked_when_a_service_keeps_the_history() -> None:
    llm = ScriptedLLM(['{"guests":3}', '{"guests":4}'], keeps_answers=True)
    async with Agent(llm, response_shape=Party, history=ServiceHistoryProvider()) as agent:
        session = agent.create_session()
        reply = await agent.run("For how many?", session=session)

        assert reply.value == Party(guests=4)
        assert await texts(session) == ["For how many?", '{"guests":4}']


@pytest.mark.parametrize(
    ("shape", "answers", "value"),
    [
        (Order | None, ["null"], None),
        (Order | None, ['{"dish":"soup","guests":2}'], Order("soup", 2)),
        (Order | None, ["{}", "null"], None),
        (list[int], ['["one"]', "[1,2]"], [1, 2]),
        (list[int], ["{}", "[]"], []),
        (Wish, ["{}", '{"dish":"soup"}'], {"dish": "soup"}),
        (Wish, ['{"dish":7}', '{"dish":"soup"}'], {"dish": "soup"}),
        (Order, ["{}", '{"dish":"soup","guests":2}'], Order("soup", 2)),
    ],
    ids=str,
)
async def test_type_of_any_kind_is_met(shape: Any, answers: list[str], value: object) -> None:
    async with Agent(ScriptedLLM(answers), response_shape=shape) as agent:
        reply = await agent.run("What shall I cook?")

    assert (reply.value, type(reply.value)) == (value, type(value))
    assert reply.usage.model_calls == len(answers)


@pytest.mark.parametrize("shape", [{}, Any, object])
def test_shape_that_says_nothing_is_refused(shape: Any) -> None:
    with pytest.raises(InvalidShape, match="leave it out for plain text"):
        Agent(ScriptedLLM([]), response_shape=shape)


async def test_served_agent_asks_its_type_as_well() -> None:
    llm = ScriptedLLM(['{"guests":3}', '{"guests":4}', *REFUSED])
    settings = Settings(database_url="memory://", shutdown_seconds=0)
    server = Server([Agent(llm, name="host", response_shape=Party)], settings=settings)
    transport = httpx2.ASGITransport(server)
    async with server, httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        met, refused = [
            await client.post("/agents/chat-agent", json={"agent_id": "host", "message": "For how many?"})
            for _ in "12"
        ]

    assert (met.status_code, met.json()["response"]) == (200, '{"guests":4}')
    assert refused.status_code == 502
    assert len(llm.prompts) == 5
