"""Turns with providers beside them: what they have the model told, and what they are told."""

import json
from collections.abc import Sequence

import pytest
from typing_extensions import override

from tertulia.agent import Agent
from tertulia.conversations import RunStatus
from tertulia.definitions import AgentDefinition
from tertulia.errors import ModelBusy, TertuliaError
from tertulia.events import ProviderFailed
from tertulia.llms.base import Prompt
from tertulia.llms.scripted import ScriptedLLM, ScriptedReply
from tertulia.memory.context.base import RunContext
from tertulia.memory.history import InMemoryHistoryProvider, Recording
from tertulia.memory.sessions import Outcome, ProviderRun, ProviderSession
from tertulia.messages import Message
from tertulia.parts import ToolCall
from tertulia.tools.functions import tool
from tests.agent.company import Knowing, Notebook, echo, roles, shown, texts
from tests.turn.houses import Death, a_house
from tests.turn.programs import a_program, death_at, die_and_go_on, moments

pytestmark = pytest.mark.usefixtures("quick")

PLAIN = AgentDefinition(name="Chef")


@tool(is_idempotent=True)
def look() -> str:
    """Look."""
    return "seen"


def uses_a_tool(prompt: Prompt) -> ScriptedReply:
    """Look first, and then say what was said."""
    if prompt.messages[-1].role == "tool":
        return f"You said {echo(prompt)}"
    return ToolCall(id=f"c{len(prompt.messages)}", name="look", arguments="{}")


class Counting(Knowing):
    """Tells something else every time it is asked."""

    @override
    async def before_run(self, run: ProviderRun) -> RunContext | None:
        await super().before_run(run)
        return RunContext(instructions=f"Rule {len(self.runs)}.", messages=[f"Fact {len(self.runs)}."])


async def test_providers_are_asked_in_order_and_told_in_reverse() -> None:
    diary: list[str] = []
    providers = [Knowing(name=name, diary=diary) for name in ("a", "b", "c")]
    async with Agent(ScriptedLLM(echo), context_providers=providers) as agent:
        await agent.run("Hi.")

    assert diary == ["before a", "before b", "before c", "after c", "after b", "after a"]


async def test_what_is_recalled_stands_just_before_the_newest_message() -> None:
    one = Knowing(RunContext(instructions="Rule.", messages=["Fact 1.", "Fact 2."]), name="one")
    said = Message.from_dict({"role": "assistant", "content": "Fact 3."})
    other = Knowing(RunContext(messages=[said]), name="other")
    llm = ScriptedLLM(echo)
    async with Agent(llm, instructions="Be kind.", context_providers=[one, other]) as agent:
        session = agent.create_session()
        await agent.run("first", session=session)
        await agent.run("second", session=session)

    assert shown(llm.prompts[1]) == [
        "Be kind.\n\nRule.",
        "first",
        "first",
        "Fact 1.",
        "Fact 2.",
        "Fact 3.",
        "second",
    ]
    assert roles(llm.prompts[1])[3:] == ["user", "user", "assistant", "user"]


async def test_nothing_recalled_is_stored() -> None:
    notebook = Notebook()
    knowing = Knowing(RunContext(instructions="Rule.", messages=["Fact."]))
    history = [InMemoryHistoryProvider(), Recording(notebook)]
    async with Agent(ScriptedLLM(echo), context_providers=[knowing], history=history) as agent:
        session = agent.create_session()
        await agent.run("first", session=session)
        reply = await agent.run("second", session=session)

        assert await texts(session) == ["first", "first", "second", "second"]
    assert notebook.texts() == ["first", "first", "second", "second"]
    assert [message.text for message in reply.messages] == ["second"]
    assert [message.text for message in knowing.outcomes[1].request] == ["second"]


async def test_audit_may_want_what_was_recalled_and_has_it_once() -> None:
    audit = Notebook()
    knowing = Knowing(RunContext(messages=["Fact."]))
    history = [InMemoryHistoryProvider(), Recording(audit, store_context_messages=True)]
    async with Agent(ScriptedLLM(echo), context_providers=[knowing], history=history) as agent:
        session = agent.create_session()
        await agent.run("first", session=session)
        await agent.run("second", session=session)

    assert audit.texts() == ["first", "Fact.", "first", "second", "Fact.", "second"]


async def test_audit_has_what_was_recalled_once_however_often_a_run_is_begun() -> None:
    house, audit = await a_house(PLAIN), Notebook()
    history = [InMemoryHistoryProvider(), Recording(audit, store_context_messages=True)]
    knowing = Knowing(RunContext(messages=["Fact.", "Fact."]))
    llm = ScriptedLLM(echo)
    agent = Agent(llm, name="Chef", context_providers=[knowing], history=history)

    await die_and_go_on(house, lambda: agent, "first", death_at("step.speaking"))

    assert len(knowing.runs) == 2
    assert audit.texts() == ["first", "Fact.", "Fact.", "first"]


async def test_what_comes_before_the_newest_message_begins_as_the_prompt_before_it_did() -> None:
    class Changing(Knowing):
        @override
        async def before_run(self, run: ProviderRun) -> RunContext | None:
            return RunContext(messages=[f"You said {run.input.text}."])

    llm = ScriptedLLM(echo)
    async with Agent(llm, instructions="Be kind.", context_providers=[Changing()]) as agent:
        session = agent.create_session()
        for turn in range(6):
            await agent.run(f"{turn}", session=session)

    for before, after in zip(llm.prompts, llm.prompts[1:], strict=False):
        assert after[: len(before) - 2] == before[:-2]
        assert after[-4:-2] == [before[-1], {"role": "assistant", "content": before[-1]["content"]}]


async def test_recalled_messages_keep_their_place_while_tools_are_used() -> None:
    llm = ScriptedLLM(uses_a_tool)
    async with Agent(llm, tools=[look], context_providers=[Counting()]) as agent:
        session = agent.create_session()
        await agent.run("first", session=session)
        await agent.run("second", session=session)

    assert shown(llm.prompts[1]) == ["Rule 1.", "Fact 1.", "first", "", "seen"]
    assert llm.prompts[3][: len(llm.prompts[2])] == llm.prompts[2]
    assert llm.asked[2].tools == llm.asked[3].tools


@pytest.mark.parametrize(
    ("context", "left"),
    [
        (RunContext(messages=["short", "word " * 3000]), ["short"]),
        (RunContext(messages=["word " * 3000, "short"]), ["short"]),
        (RunContext(instructions="word " * 3000, messages=["short"]), ["short"]),
    ],
    ids=["message", "first message", "instructions"],
)
async def test_recall_that_is_too_large_is_cut_and_reported(context: RunContext, left: list[str]) -> None:
    llm = ScriptedLLM(echo)
    knowing = Knowing(context, name="chatty")
    async with Agent(llm, context_providers=[knowing], context_tokens=2000) as agent:
        reply = await agent.run("Hi.")

    assert shown(llm.prompts[0]) == [*left, "Hi."]
    [failure] = reply.failures
    assert (failure.provider, failure.stage) == ("chatty", "before_run")
    assert "left out" in failure.message


async def test_several_who_recall_share_the_room() -> None:
    llm = ScriptedLLM(echo)
    chatty = [Knowing(RunContext(messages=["word " * 600]), name=f"{place}") for place in range(4)]
    async with Agent(llm, context_providers=chatty, context_tokens=4000) as agent:
        reply = await agent.run("Hi.")

    assert 1 < len(llm.prompts[0]) < 5
    assert len(reply.failures) == 1


async def test_tools_of_a_context_are_there_for_its_run() -> None:
    async def look_up(what: str) -> str:
        """Look something up."""
        return f"{what} is far"

    llm = ScriptedLLM([ToolCall(id="c", name="look_up", arguments='{"what":"Ulm"}'), "It is far.", "Bye."])
    knowing = Knowing(RunContext(tools=[look_up]))
    async with Agent(llm, tools=[look], context_providers=[knowing]) as agent:
        session = agent.create_session()
        reply = await agent.run("Where is Ulm?", session=session)
        knowing.context = None
        await agent.run("Bye.", session=session)

    assert reply.text == "It is far."
    assert shown(llm.prompts[1])[-1] == "Ulm is far"
    assert [[spec.name for spec in asked.tools] for asked in llm.asked] == [
        ["look", "look_up"],
        ["look", "look_up"],
        ["look"],
    ]


async def test_tools_of_a_context_do_not_stand_in_for_the_agents_own() -> None:
    def impostor() -> str:
        """Look elsewhere."""
        return "not seen"

    knowing = Knowing(RunContext(tools=[tool(name="look")(impostor)]), name="impostor")
    llm = ScriptedLLM(uses_a_tool)
    async with Agent(llm, tools=[look], context_providers=[knowing]) as agent:
        reply = await agent.run("Look.")

    assert shown(llm.prompts[1])[-1] == "seen"
    assert [spec.description for spec in llm.asked[0].tools] == ["Look."]
    [failure] = reply.failures
    assert (failure.provider, failure.stage) == ("impostor", "before_run")
    assert "'look' was left out" in failure.message


async def test_tool_that_the_agent_has_itself_is_reported_of_who_gave_it_and_of_nobody_else() -> None:
    def impostor() -> str:
        """Look elsewhere."""
        return "not seen"

    others = {"first": look, "second": tool(name="look")(impostor)}
    givers = [Knowing(RunContext(tools=[each]), name=name) for name, each in others.items()]
    telling = Knowing(RunContext(messages=["Fact."]), name="telling")
    llm = ScriptedLLM(uses_a_tool)
    async with Agent(llm, tools=[look], context_providers=[telling, *givers]) as agent:
        reply = await agent.run("Look.")

    assert [each.provider for each in reply.failures] == ["first", "second"]


async def test_tools_of_two_contexts_with_one_name_are_reported() -> None:
    def impostor() -> str:
        """Look elsewhere."""
        return "not seen"

    first = Knowing(RunContext(tools=[look]), name="first")
    second = Knowing(RunContext(messages=["Fact."], tools=[tool(name="look")(impostor)]), name="second")
    llm = ScriptedLLM(uses_a_tool)
    async with Agent(llm, context_providers=[first, second]) as agent:
        reply = await agent.run("Look.")

    assert shown(llm.prompts[1]) == ["Fact.", "Look.", "", "seen"]
    assert [(each.provider, each.stage) for each in reply.failures] == [("second", "before_run")]
    assert "'look' was left out" in reply.failures[0].message


async def test_provider_that_is_told_fails_for_itself_only_and_is_reported_while_it_happens() -> None:
    knowing = Knowing(fails_after=ModelBusy("too much"))
    async with Agent(ScriptedLLM(echo), context_providers=[knowing]) as agent:
        events = [event async for event in agent.run_stream("Hi.")]

    failed = [event for event in events if isinstance(event, ProviderFailed)]
    assert [each.message for each in failed] == ["too much"]
    assert events.index(failed[0]) == len(events) - 2


async def test_run_that_goes_on_is_told_what_it_was_told_before() -> None:
    house, counting = await a_house(PLAIN), Counting()
    llm = ScriptedLLM(uses_a_tool)
    agent = Agent(llm, name="Chef", tools=[look], context_providers=[counting])
    await die_and_go_on(house, lambda: agent, "Look.", death_at("journal.after"))

    assert shown(llm.prompts[-1])[:3] == ["Rule 1.", "Fact 1.", "Look."]
    assert len(llm.prompts) == 2
    assert len(counting.runs) == 1
    assert (await house.texts())[-1] == "You said Look."


async def test_tools_of_a_context_are_had_again_by_who_goes_on() -> None:
    house = await a_house(PLAIN)

    class Tooled(Counting):
        @override
        async def before_run(self, run: ProviderRun) -> RunContext | None:
            context = await super().before_run(run)
            assert context is not None
            return RunContext(messages=context.messages, tools=[look])

    tooled = Tooled()
    llm = ScriptedLLM(uses_a_tool)
    agent = Agent(llm, name="Chef", context_providers=[tooled])
    await die_and_go_on(house, lambda: agent, "Look.", death_at("journal.after"))

    assert len(tooled.runs) == 2
    assert shown(llm.prompts[-1]) == ["Fact 1.", "Look.", "", "seen"]
    assert (await house.texts())[-1] == "You said Look."


async def test_process_that_ends_before_providers_are_told_leaves_that_to_the_next() -> None:
    house, knowing = await a_house(PLAIN), Knowing()
    llm = ScriptedLLM(uses_a_tool)
    agent = Agent(llm, name="Chef", tools=[look], context_providers=[knowing])
    async with a_program(house, agent, probe=death_at("commit.after")) as first:
        ticket = await first.say("Look.")
        await first.gone()
        told, kept = list(knowing.outcomes), await house.texts()
        async with a_program(house, agent) as second:
            await second.go_on()
            end = await second.end(ticket.run.id)

    assert (told, kept) == ([], ["Look.", "", "", "You said Look."])
    assert await house.texts() == kept
    assert (end.status, end.messages) == (RunStatus.COMPLETED, tuple((await house.messages())[1:]))
    assert len(llm.prompts) == 2
    [outcome] = knowing.outcomes
    assert [message.role for message in outcome.response] == ["assistant", "tool", "assistant"]
    assert (outcome.request[0].text, outcome.error) == ("Look.", None)


async def test_process_may_die_anywhere_and_everybody_is_told_everything() -> None:
    alive = await _lives(Death(10_000))
    for passing in moments(alive):
        death = await _lives(Death(passing))

        assert death.has_come, alive.passed[passing - 1]


async def _lives(death: Death) -> Death:
    """Have three messages answered, the second one by a process that dies."""
    house, notebook, knowing = await a_house(PLAIN), Notebook(), Counting()
    llm = ScriptedLLM(uses_a_tool)

    def make() -> Agent:
        history = [InMemoryHistoryProvider(), Recording(notebook)]
        return Agent(llm, name="Chef", tools=[look], context_providers=[knowing], history=history)

    async with a_program(house, make()) as process:
        await process.ask("first")
    await die_and_go_on(house, make, "second", death)
    async with a_program(house, make()) as process:
        await process.ask("third")

    said, at = await house.messages(), death.passed[-1:]
    texts_said = ["first", "You said first", "second", "You said second", "third", "You said third"]
    assert [message.text for message in said if message.text] == texts_said, at
    assert [message.id for message in notebook.kept[house.row.id]] == [each.id for each in said], at
    assert [outcome.request[0].text for outcome in knowing.outcomes if outcome.error] == [], at
    assert {outcome.request[0].text for outcome in knowing.outcomes} == {"first", "second", "third"}, at
    assert len(llm.prompts) <= 6 + 1, at
    return death


async def test_history_provider_is_told_of_many_messages_in_pages_and_in_order() -> None:
    class Strict(Notebook):
        @override
        async def append(self, session: ProviderSession, messages: Sequence[Message]) -> None:
            sizes.append(len(messages))
            await super().append(session, messages)

    sizes: list[int] = []
    strict = Strict()
    llm = ScriptedLLM(echo)
    async with Agent(llm, history=[InMemoryHistoryProvider(), Recording(strict)]) as agent:
        session = agent.create_session()
        await session.append([f"{n}" for n in range(450)])
        await agent.run("Hi.", session=session)

    assert strict.texts() == [*(f"{n}" for n in range(450)), "Hi.", "Hi."]
    assert sizes == [200, 200, 51, 1]


async def test_history_provider_that_fails_in_the_middle_lacks_nothing_in_the_end() -> None:
    class Tiring(Notebook):
        @override
        async def append(self, session: ProviderSession, messages: Sequence[Message]) -> None:
            calls.append(len(messages))
            if len(calls) == 2:
                raise OSError("tired")
            await super().append(session, messages)

    calls: list[int] = []
    tiring = Tiring()
    async with Agent(ScriptedLLM(echo), history=[InMemoryHistoryProvider(), Recording(tiring)]) as agent:
        session = agent.create_session()
        await session.append([f"{n}" for n in range(250)])
        reply = await agent.run("Hi.", session=session)

    assert tiring.texts() == [*(f"{n}" for n in range(250)), "Hi.", "Hi."]
    assert [failure.stage for failure in reply.failures] == ["append"]
    assert calls == [200, 51, 52]


async def test_provider_is_told_of_a_run_as_it_is() -> None:
    knowing = Knowing()
    async with Agent(ScriptedLLM(echo), name="Host", context_providers=[knowing]) as agent:
        session = agent.create_session("mine", user="ann")
        reply = await agent.run("Hi.", session=session)

    [run] = knowing.runs
    assert (run.id, run.agent, run.user, run.session.id) == (reply.run_id, "Host", "ann", "mine")
    assert (run.input.text, run.input.number) == ("Hi.", 1)
    [outcome] = knowing.outcomes
    assert isinstance(outcome, Outcome)
    assert outcome.response == reply.messages


async def test_failure_of_another_kind_is_told_and_raised() -> None:
    knowing = Knowing()
    llm = ScriptedLLM(lambda _: json.loads("no JSON"))
    async with Agent(llm, context_providers=[knowing]) as agent:
        session = agent.create_session()
        with pytest.raises(TertuliaError):
            await agent.run("Hi.", session=session)

        assert await texts(session) == ["Hi."]
