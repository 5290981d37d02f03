"""Answers that their provider works on by itself: taken up by whoever goes on, and never asked for twice."""

import json
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest
from typing_extensions import override

from tertulia.agent.stored import AgentPerformer
from tertulia.agent_settings import ModelSettings
from tertulia.conversations import RunStatus
from tertulia.engine import Ticket
from tertulia.events import StepRestarted, TextDelta
from tertulia.llms.base import Begun, Finished, LLMEvent, Prompt
from tertulia.llms.base import TextDelta as Said
from tertulia.llms.scripted import ScriptedLLM
from tertulia.parts import ToolCall
from tertulia.tools.functions import tool
from tertulia.usage import Usage
from tests.engine.kit import Gate
from tests.turn.houses import House, Process, a_house, a_process
from tests.turn.kitchen import DEFINITION, OneModel

pytestmark = pytest.mark.usefixtures("quick")

IN_BACKGROUND = replace(DEFINITION, settings=ModelSettings(background=True))
CALL = ToolCall(id="a", name="look", arguments="{}")


@tool(is_idempotent=True)
def look() -> str:
    """Look."""
    return "seen"


class Provider:
    """Works on answers by itself: the first uses a tool, the second is an answer."""

    def __init__(self) -> None:
        self.begun = Counter[str]()
        """How often work was begun for a prompt of so many messages."""
        self.works: dict[str, Finished] = {}
        self.abandoned: list[str] = []

    def begin(self, prompt: Prompt) -> str:
        is_second = prompt.messages[-1].role == "tool"
        usage = Usage(input_tokens=3, output_tokens=2, model_calls=1)
        whole = Finished(text="I have seen it.", model="m", usage=usage)
        if not is_second:
            whole = Finished(text="Well.", model="m", calls=(CALL,), usage=usage)
        self.begun["second" if is_second else "first"] += 1
        external_id = f"resp_{sum(self.begun.values())}"
        self.works[external_id] = whole
        return external_id


class Away(ScriptedLLM):
    """Asks that provider; stands still where it is told to: before or after the first word."""

    def __init__(self, provider: Provider, *, halts: str = "", at: int = 0) -> None:
        super().__init__([])
        self.provider, self.gate = provider, Gate()
        self.resumed: list[str | None] = []
        self._halts, self._at = halts, at

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        self.resumed.append(prompt.resumes)
        external_id = prompt.resumes
        if external_id not in self.provider.works:
            external_id = self.provider.begin(prompt)
        yield Begun(external_id)
        await self._halt("silent")
        whole = self.provider.works[external_id]
        yield Said(whole.text[:4])
        await self._halt("speaking")
        yield Said(whole.text[4:])
        yield replace(whole, external_id=external_id)

    @override
    async def abandon(self, external_id: str) -> None:
        self.provider.abandoned.append(external_id)

    async def _halt(self, where: str) -> None:
        if where == self._halts and len(self.resumed) == self._at:
            await self.gate()


async def _left(process: Process, llm: Away, text: str = "Look!") -> Ticket:
    """Have a run come to where its process stands still."""
    ticket = await process.say(text)
    await llm.gate.reached()
    return ticket


async def _said(process: Process, ticket: Ticket) -> str:
    """Return the text that is left where what began anew is forgotten."""
    said = ""
    for numbered in await process.told(ticket.run.id):
        if isinstance(numbered.event, StepRestarted):
            said = ""
        elif isinstance(numbered.event, TextDelta):
            said += numbered.event.text
    return said


async def _looked(house: House) -> list[str]:
    return [message.text for message in await house.messages() if message.role != "tool"]


@pytest.mark.parametrize("halts", ["silent", "speaking"])
@pytest.mark.parametrize("at", [1, 2])
async def test_answer_under_way_is_taken_up_by_another_process_without_a_second_call(
    halts: str, at: int
) -> None:
    house, provider = await a_house(IN_BACKGROUND, [look]), Provider()
    first, second = Away(provider, halts=halts, at=at), Away(provider)
    async with a_process(house, first) as gone, a_process(house, second) as heir:
        ticket = await _left(gone, first)
        [*_, step] = await house.store.runs.steps(0, ticket.run.id)
        await heir.go_on()
        end = await heir.end(ticket.run.id)
        said = await _said(heir, ticket)
        first.gate.open()

    assert (step.external_id, step.ended_at) == (f"resp_{at}", 0)
    assert second.resumed[0] == f"resp_{at}"
    assert provider.begun == {"first": 1, "second": 1}
    assert end.usage == Usage(input_tokens=6, output_tokens=4, model_calls=2, wasted_calls=0, tool_calls=1)
    assert provider.abandoned == []
    assert said == "I have seen it."
    assert await _looked(house) == ["Look!", "Well.", "I have seen it."]


async def test_answer_that_is_gone_is_asked_for_again_and_counted_as_wasted() -> None:
    house, provider = await a_house(IN_BACKGROUND, [look]), Provider()
    first, second = Away(provider, halts="silent", at=2), Away(provider)
    async with a_process(house, first) as gone, a_process(house, second) as heir:
        ticket = await _left(gone, first)
        provider.works.clear()
        await heir.go_on()
        end = await heir.end(ticket.run.id)

    assert second.resumed == ["resp_2"]
    assert provider.begun == {"first": 1, "second": 2}
    assert (end.usage.model_calls, end.usage.wasted_calls) == (2, 1)


async def test_id_is_journaled_before_anything_is_told() -> None:
    house, provider = await a_house(IN_BACKGROUND, [look]), Provider()
    llm = Away(provider, halts="silent", at=1)
    async with a_process(house, llm) as process:
        ticket = await _left(process, llm)
        [step] = await house.store.runs.steps(0, ticket.run.id)
        llm.gate.open()
        await ticket.finished()

    assert (step.path, step.external_id) == ("turn/1/model/1", "resp_1")


@pytest.mark.parametrize("keep_partial", [False, True])
@pytest.mark.parametrize("halts", ["silent", "speaking"])
async def test_cancelling_stops_the_provider_too(halts: str, keep_partial: bool) -> None:
    house, provider = await a_house(IN_BACKGROUND, [look]), Provider()
    llm = Away(provider, halts=halts, at=2)
    async with a_process(house, llm) as process:
        ticket = await _left(process, llm)
        run = await process.engine.cancel(0, ticket.run.id, keep_partial=keep_partial)

    assert run.status is RunStatus.CANCELLED
    assert provider.abandoned == ["resp_2"]


async def test_handing_over_leaves_the_provider_at_work() -> None:
    house, provider = await a_house(IN_BACKGROUND, [look]), Provider()
    first, second = Away(provider, halts="speaking", at=2), Away(provider)
    async with a_process(house, first) as gone:
        ticket = await _left(gone, first)
        await gone.engine.stop()
    async with a_process(house, second) as heir:
        await heir.go_on()
        end = await heir.end(ticket.run.id)

    assert provider.abandoned == []
    assert provider.begun == {"first": 1, "second": 1}
    assert second.resumed == ["resp_2"]
    assert (end.status, end.usage.wasted_calls) == (RunStatus.COMPLETED, 0)


async def test_finished_answer_is_not_abandoned_when_its_tool_is_cancelled() -> None:
    gate = Gate()

    @tool(is_idempotent=True, name="look")
    async def look_for_ever() -> str:
        """Look for ever."""
        await gate()
        return "never"

    house, provider = await a_house(IN_BACKGROUND, [look_for_ever]), Provider()
    async with a_process(house, Away(provider)) as process:
        ticket = await process.say("Look!")
        await gate.reached()
        await process.engine.cancel(0, ticket.run.id)

    assert provider.abandoned == []


async def test_provider_that_does_not_listen_does_not_keep_a_run_from_ending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tertulia.turn.talk._ABANDON_SECONDS", 0.01)

    class Deaf(Away):
        @override
        async def abandon(self, external_id: str) -> None:
            await Gate()()

    house, provider = await a_house(IN_BACKGROUND, [look]), Provider()
    llm = Deaf(provider, halts="silent", at=1)
    async with a_process(house, llm) as process:
        ticket = await _left(process, llm)
        run = await process.engine.cancel(0, ticket.run.id)

    assert run.status is RunStatus.CANCELLED


async def test_summary_and_judge_are_not_asked_for_in_the_background() -> None:
    definition = replace(DEFINITION, settings=ModelSettings(background=True, store=True, check_end=True))
    house = await a_house(definition)
    verdict = {"is_over": False, "reason": json.dumps("no")}
    async with a_process(house, ["Hello.", verdict, {"summary": "Nothing."}]) as process:
        await process.ask("Hi.")
        performer = AgentPerformer(house.store, OneModel(process.llm), context_tokens=4000)
        await performer.summarize(await house.store.conversations.get(0, house.row.id))

        asked = [prompt.settings for prompt in process.llm.asked]
    assert [(each.background, each.store) for each in asked] == [(True, True), (None, None), (None, None)]
