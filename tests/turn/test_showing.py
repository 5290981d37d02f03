"""What a model is shown of a conversation beside what context providers tell, however much that is."""

import json
from collections.abc import Callable, Sequence
from itertools import pairwise, takewhile
from typing import Any, Final

import pytest
from typing_extensions import override

from tertulia.agent import Agent
from tertulia.definitions import AgentDefinition
from tertulia.errors import ContextTooLong
from tertulia.events import ProviderFailed
from tertulia.llms.base import Prompt
from tertulia.llms.scripted import ScriptedLLM, ScriptedReply
from tertulia.memory.context.base import RunContext
from tertulia.memory.history import InMemoryHistoryProvider
from tertulia.memory.history.service import Kept, ServiceHistoryProvider
from tertulia.memory.reducers import TruncationReducer
from tertulia.memory.sessions import ProviderRun
from tertulia.parts import ToolCall
from tertulia.tools.functions import tool
from tests.agent.company import Knowing, Notebook, echo, shown, texts
from tests.turn.houses import a_house
from tests.turn.programs import a_program, death_at, die_and_go_on

pytestmark = pytest.mark.usefixtures("quick")

ROOM: Final = 2000
RESERVE: Final = ROOM // 4
TURNS: Final = 60
SIZES: Final = (0, 30, 7, 95, 2, 60, 0, 0, 90, 45)
"""Words that are told, run by run."""
HISTORIES: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "log": dict,
    "reduced": lambda: {"reducers": TruncationReducer(200, threshold=20)},
    "provided": lambda: {"history": Notebook()},
    "provided and reduced": lambda: {
        "history": Notebook(),
        "reducers": TruncationReducer(200, threshold=20),
    },
}
wherever = pytest.mark.parametrize("where", HISTORIES)
either = pytest.mark.parametrize("keeps", ["answers", "conversation"])


class Telling(Knowing):
    """Tells so many words in each run, one size after the other, all over again."""

    def __init__(self, *sizes: int, as_rules: bool = False) -> None:
        super().__init__(name="telling")
        self._sizes, self._as_rules = sizes, as_rules

    @override
    async def before_run(self, run: ProviderRun) -> RunContext | None:
        await super().before_run(run)
        size = self._sizes[len(self.runs) % len(self._sizes)]
        text = "told " * size
        return RunContext(instructions=text) if self._as_rules else RunContext(messages=[text] * bool(text))


@tool(is_idempotent=True)
def look() -> str:
    """Look."""
    return "seen"


async def conversed(where: str, *telling: Telling, room: int = ROOM) -> list[list[object]]:
    """Return what was shown in each turn of a long conversation."""
    llm = ScriptedLLM(lambda prompt: f"Answer to {echo(prompt)[:4]}" + "word " * 20)
    more = HISTORIES[where]()
    async with Agent(
        llm, instructions="Be kind.", context_tokens=room, context_providers=telling, **more
    ) as agent:
        session = agent.create_session()
        for turn in range(TURNS):
            reply = await agent.run(f"{turn:3} " + "word " * (turn * 7 % 40), session=session)
            assert reply.failures == ()
    return [shown(prompt) for prompt in llm.prompts]


def said(prompts: Sequence[Sequence[object]]) -> list[list[object]]:
    """Return what was shown of the conversation only."""
    return [[text for text in prompt if "told" not in str(text)] for prompt in prompts]


def repeated(prompts: Sequence[Sequence[object]]) -> list[int]:
    """Return how many messages at the beginning of each prompt were those of the one before."""
    pairs = (zip(before, after, strict=False) for before, after in pairwise(prompts))
    return [len(list(takewhile(lambda pair: pair[0] == pair[1], each))) for each in pairs]


def moves(prompts: Sequence[Sequence[object]]) -> int:
    """Return how often the history has begun elsewhere than in the turn before."""
    return sum(before[1] != after[1] for before, after in pairwise(prompts))


@wherever
async def test_prompts_repeat_as_much_whether_more_or_less_is_told(where: str) -> None:
    fixed = await conversed(where, Telling(60))
    varied = await conversed(where, Telling(*SIZES))

    assert moves(said(fixed)) >= 3
    assert said(varied) == said(fixed)
    # Where nothing was told, the question repeats as well.
    assert all(0 <= more - less <= 1 for more, less in zip(repeated(varied), repeated(fixed), strict=True))
    assert sum(repeated(varied)) > 0.75 * sum(map(len, varied))


@wherever
async def test_history_begins_elsewhere_no_oftener_than_without_a_provider(where: str) -> None:
    without = await conversed(where, room=ROOM - RESERVE)
    told = await conversed(where, Telling(*SIZES))

    assert moves(without) >= 3
    assert said(told) == without


@wherever
async def test_history_begins_with_the_same_message_whatever_rules_are_told(where: str) -> None:
    fixed = await conversed(where, Telling(60))
    ruled = await conversed(where, Telling(*SIZES, as_rules=True))

    assert [prompt[1:] for prompt in ruled] == [prompt[1:] for prompt in said(fixed)]


def whole(room: int) -> str:
    """Return a message that takes nearly so many tokens."""
    return "word " * (room * 4 // 5 - 20)


@pytest.mark.parametrize(
    "context",
    [RunContext(messages=["told " * 300]), RunContext(instructions="told " * 300)],
    ids=["message", "instructions"],
)
async def test_message_that_fits_only_without_what_is_told_is_answered(context: RunContext) -> None:
    llm, long = ScriptedLLM(echo), whole(ROOM - 100)
    knowing = Knowing(context, name="chatty")
    async with Agent(llm, instructions="Be kind.", context_providers=[knowing], context_tokens=ROOM) as agent:
        session = agent.create_session()
        first = await agent.run("Hi.", session=session)
        reply = await agent.run(long, session=session)

        assert reply.text == long
        assert shown(llm.prompts[1]) == ["Be kind.", "Hi.", "Hi.", long]
        assert [(each.provider, each.stage) for each in reply.failures] == [("chatty", "before_run")]
        assert "left out" in reply.failures[0].message
        assert first.failures == ()
        assert await texts(session) == ["Hi.", "Hi.", long, long]
    assert any("told" in str(text) for text in shown(llm.prompts[0]))


async def test_what_is_told_is_there_again_in_the_turn_after_one_that_had_no_room_for_it() -> None:
    llm, knowing = ScriptedLLM(lambda _: "Yes."), Knowing(RunContext(messages=["Fact."]))
    async with Agent(llm, context_providers=[knowing], context_tokens=ROOM) as agent:
        session = agent.create_session()
        for text in ("one", whole(ROOM - 20), "three"):
            await agent.run(text, session=session)

    assert [("Fact." in shown(prompt)) for prompt in llm.prompts] == [True, False, True]
    assert shown(llm.prompts[2])[-2:] == ["Fact.", "three"]


async def test_room_that_is_left_to_who_tells_nothing_is_used_without_a_word_about_it() -> None:
    llm, long = ScriptedLLM(echo), whole(ROOM - 20)
    async with Agent(llm, context_providers=[Knowing()], context_tokens=ROOM) as agent:
        reply = await agent.run(long)

    assert (reply.text, reply.failures) == (long, ())


async def test_message_that_fits_in_no_case_is_refused() -> None:
    llm, knowing = ScriptedLLM(echo), Knowing(RunContext(messages=["Fact."]))
    async with Agent(llm, context_providers=[knowing], context_tokens=ROOM) as agent:
        with pytest.raises(ContextTooLong):
            await agent.run(whole(2 * ROOM))

    assert llm.prompts == []


async def test_agent_whose_own_texts_leave_no_room_for_others_still_answers() -> None:
    llm, knowing = ScriptedLLM(echo), Knowing(RunContext(messages=["Fact."]))
    own = whole(ROOM - RESERVE)
    async with Agent(llm, instructions=own, context_providers=[knowing], context_tokens=ROOM) as agent:
        reply = await agent.run("word " * 100)

    assert reply.text == "word " * 100
    assert shown(llm.prompts[0]) == [own, reply.text]
    assert len(reply.failures) == 1


def small(most: int) -> Callable[[Prompt], ScriptedReply]:
    """A model that takes no more than so many characters, and says what was said."""

    def reply(prompt: Prompt) -> ScriptedReply:
        length = len(prompt.aside) + sum(len(each.text) for each in prompt.messages)
        return ContextTooLong("too long") if length > most else echo(prompt)

    return reply


async def test_what_is_told_goes_before_the_history_where_the_provider_finds_both_too_long() -> None:
    llm, knowing = ScriptedLLM(echo), Knowing(RunContext(instructions="Rule. " * 9, messages=["told " * 90]))
    async with Agent(llm, context_providers=[knowing]) as agent:
        session = agent.create_session()
        for turn in range(4):
            await agent.run(f"{turn} " + "word " * 20, session=session)
        llm._reply = small(1200)
        events = [event async for event in agent.run_stream("Now?", session=session)]

    refused, answered = [shown(prompt) for prompt in llm.prompts[4:]]
    assert refused == ["Rule. " * 9, *answered[:-1], "told " * 90, "Now?"]
    assert len(answered) == 9
    failed = [event for event in events if isinstance(event, ProviderFailed)]
    assert [(each.provider, each.stage) for each in failed] == [("knowing", "before_run")]


async def test_history_is_halved_where_leaving_out_what_is_told_is_not_enough() -> None:
    llm, knowing = ScriptedLLM(echo), Knowing(RunContext(messages=["told " * 90]))
    async with Agent(llm, context_providers=[knowing], context_tokens=1000) as agent:
        session = agent.create_session()
        for turn in range(9):
            await agent.run(f"{turn} " + "word " * 20, session=session)
        llm._reply = small(1000)
        reply = await agent.run("Now?", session=session)

    tries = [shown(prompt) for prompt in llm.prompts[9:]]
    assert ["told " * 90 in prompt for prompt in tries] == [True, *[False] * (len(tries) - 1)]
    assert len(tries) >= 3
    assert tries[1][-1] == tries[-1][-1] == reply.text == "Now?"
    assert 1 < len(tries[-1]) < len(tries[1])
    assert tries[1][-len(tries[-1]) :] == tries[-1]
    assert len(reply.failures) == 1


async def test_what_is_told_goes_once_the_uses_of_tools_have_left_no_room_for_it() -> None:
    @tool(is_idempotent=True)
    def look_for(what: str) -> str:
        """Look for something."""
        return "seen"

    def reply(prompt: Prompt) -> ScriptedReply:
        used = sum(each.role == "tool" for each in prompt.messages)
        arguments = json.dumps({"what": "word " * 650})
        return "Seen." if used == 2 else ToolCall(id=f"c{used}", name="look_for", arguments=arguments)

    llm, knowing = ScriptedLLM(reply), Knowing(RunContext(messages=["Fact."]), name="chatty")
    async with Agent(llm, tools=[look_for], context_providers=[knowing], context_tokens=4000) as agent:
        answer = await agent.run("Look.")

    assert [shown(prompt) for prompt in llm.prompts] == [
        ["Fact.", "Look."],
        ["Fact.", "Look.", "", "seen"],
        ["Look.", "", "seen", "", "seen"],
    ]
    assert answer.text == "Seen."
    assert [each.provider for each in answer.failures] == ["chatty"]


async def test_run_that_goes_on_has_no_room_either_for_what_had_none_before() -> None:
    def reply(prompt: Prompt) -> ScriptedReply:
        is_used = prompt.messages[-1].role == "tool"
        return "Seen." if is_used else ToolCall(id="c", name="look", arguments="{}")

    house, llm = await a_house(AgentDefinition(name="Chef")), ScriptedLLM(reply)
    knowing, long = Knowing(RunContext(messages=["Fact."])), whole(ROOM - 100)

    def make() -> Agent:
        return Agent(llm, name="Chef", tools=[look], context_providers=[knowing], context_tokens=ROOM)

    await die_and_go_on(house, make, long, death_at("journal.after"))

    assert [shown(prompt) for prompt in llm.prompts] == [[long], [long, "", "seen"]]
    assert len(knowing.runs) == 1
    assert (await house.texts())[-1] == "Seen."
    async with a_program(house, make()) as process:
        await process.ask("Hi.")
    assert "Fact." in shown(llm.prompts[-1])


async def test_tools_stay_where_texts_have_no_room_and_are_had_again_by_who_goes_on() -> None:
    def reply(prompt: Prompt) -> ScriptedReply:
        is_used = prompt.messages[-1].role == "tool"
        return "Seen." if is_used else ToolCall(id="c", name="look", arguments="{}")

    house, llm, long = await a_house(AgentDefinition(name="Chef")), ScriptedLLM(reply), whole(ROOM - 100)
    knowing = Knowing(RunContext(messages=["Fact."], tools=[look]))

    def make() -> Agent:
        return Agent(llm, name="Chef", context_providers=[knowing], context_tokens=ROOM)

    await die_and_go_on(house, make, long, death_at("journal.after"))

    assert [shown(prompt) for prompt in llm.prompts] == [[long], [long, "", "seen"]]
    assert len(knowing.runs) == 2
    assert (await house.texts())[-1] == "Seen."


@either
async def test_service_that_finds_its_own_history_too_long_is_told_anew_what_fits(keeps: Kept) -> None:
    def reply(prompt: Prompt) -> ScriptedReply:
        is_first = not prompt.leans_on or (keeps == "conversation" and len(prompt.messages) > 1)
        return echo(prompt) if len(llm.asked) != 3 or is_first else ContextTooLong("too long")

    llm = ScriptedLLM(reply, keeps_answers=True)
    knowing = Knowing(RunContext(messages=["Fact."]))
    history = ServiceHistoryProvider(keeps=keeps)
    async with Agent(llm, name="Chef", history=history, context_providers=[knowing]) as agent:
        session = agent.create_session()
        for text in ("one", "two"):
            await agent.run(text, session=session)
        reply_ = await agent.run("three", session=session)
        await agent.run("four", session=session)

        assert (reply_.text, reply_.failures) == ("three", ())
        assert [[each.text for each in asked.messages] for asked in llm.asked[2:]] == [
            ["three"],
            ["one", "one", "two", "two", "three"],
            ["four"],
        ]
        assert {asked.aside for asked in llm.asked} == {"Fact."}
        assert session.service_session_id is not None
        assert shown(llm.kept[session.service_session_id]) == [
            *("one", "one", "two", "two", "three", "three", "four", "four")
        ]


@either
async def test_service_that_finds_that_too_long_as_well_is_told_less_and_less(keeps: Kept) -> None:
    llm = ScriptedLLM(echo, keeps_answers=True)
    knowing = Knowing(RunContext(messages=["told " * 90]))
    history = ServiceHistoryProvider(keeps=keeps)
    async with Agent(
        llm, name="Chef", history=history, context_providers=[knowing], context_tokens=1000
    ) as agent:
        session = agent.create_session()
        for turn in range(9):
            await agent.run(f"{turn} " + "word " * 20, session=session)
        llm._reply = small_unless_kept(600)
        reply = await agent.run("Now?", session=session)

    tries = [[each.text for each in asked.messages] for asked in llm.asked[9:]]
    assert tries[0] == ["Now?"]
    assert [asked.aside for asked in llm.asked[9:]] == ["told " * 90] * 2 + [""] * (len(tries) - 2)
    lengths = list(map(len, tries[1:]))
    assert lengths == sorted(lengths[:2]) + sorted(lengths[2:], reverse=True)
    assert lengths[-1] < lengths[0]
    assert (reply.text, len(reply.failures)) == ("Now?", 1)


def small_unless_kept(most: int) -> Callable[[Prompt], ScriptedReply]:
    """The same, of which what its service has kept is too long in any case."""
    takes = small(most)
    return lambda prompt: (
        ContextTooLong("too long") if len(prompt.messages) == 1 and prompt.leans_on else takes(prompt)
    )


async def test_nothing_is_left_to_others_without_a_context_provider() -> None:
    llm, long = ScriptedLLM(echo), whole(ROOM - 20)
    async with Agent(llm, history=[InMemoryHistoryProvider()], context_tokens=ROOM) as agent:
        assert (await agent.run(long)).text == long
