"""History that a model's service keeps: it is told each thing once, and everything again if it forgets."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from typing_extensions import override

from tertulia.agent import Agent, Session
from tertulia.agent.histories import AgentHistory
from tertulia.agent_settings import RunLimits
from tertulia.definitions import AgentDefinition
from tertulia.errors import ModelBusy, RunCancelled, SessionMismatch, ShapeMismatch
from tertulia.events import RunStarted, TextDelta
from tertulia.llms.base import Finished, Prompt
from tertulia.llms.scripted import ScriptedLLM, ScriptedReply
from tertulia.memory.context.base import RunContext
from tertulia.memory.history import InMemoryHistoryProvider, Recording
from tertulia.memory.history.service import Kept, ServiceHistoryProvider
from tertulia.parts import ToolCall
from tertulia.tools.functions import tool
from tests.agent.company import Knowing, Notebook, echo, shown, texts
from tests.turn.houses import Death, a_house
from tests.turn.programs import a_program, death_at, die_and_go_on, moments

pytestmark = pytest.mark.usefixtures("quick")

WAYS: tuple[Kept, ...] = ("answers", "conversation")
either = pytest.mark.parametrize("keeps", WAYS)
SHAPE = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@tool(is_idempotent=True)
def look() -> str:
    """Look."""
    return "seen"


def a_model(replies: Any = echo) -> ScriptedLLM:
    return ScriptedLLM(replies, keeps_answers=True)


def an_agent(llm: ScriptedLLM, keeps: Kept = "answers", **more: Any) -> Agent:
    return Agent(llm, name="Chef", history=ServiceHistoryProvider(keeps=keeps), **more)


def known(llm: ScriptedLLM, session: Session) -> list[object]:
    """Return the texts of all that the service has of a session."""
    assert session.service_session_id is not None
    return shown(llm.kept[session.service_session_id])


def told(llm: ScriptedLLM) -> list[list[str]]:
    """Return the texts that the service was to keep, call by call."""
    return [[message.text for message in asked.messages] for asked in llm.asked]


def asides(llm: ScriptedLLM) -> list[str]:
    """Return what was told for one answer only, call by call."""
    return [asked.aside for asked in llm.asked]


@either
async def test_only_what_is_new_is_sent(keeps: Kept) -> None:
    llm = a_model()
    async with an_agent(llm, keeps, instructions="Be kind.", first_message="Hello!") as agent:
        session = agent.create_session()
        for text in ("one", "two", "three"):
            await agent.run(text, session=session)

        assert told(llm) == [["Hello!", "one"], ["two"], ["three"]]
        assert asides(llm) == ["Be kind."] * 3
        assert all(asked.settings.store for asked in llm.asked)
        assert await texts(session) == ["one", "one", "two", "two", "three", "three"]
        assert known(llm, session) == ["Hello!", "one", "one", "two", "two", "three", "three"]


@either
async def test_service_id_and_local_history_are_never_both_sent(keeps: Kept) -> None:
    llm = a_model()
    async with an_agent(llm, keeps) as agent:
        session = agent.create_session()
        for text in ("one", "two", "three"):
            await agent.run(text, session=session)

    for asked in llm.asked[1:]:
        assert (asked.leans_on is not None, len(asked.messages)) == (True, 1)
        assert asked.follows is None or asked.within is None


@either
async def test_uses_of_tools_follow_call_by_call(keeps: Kept) -> None:
    call = ToolCall(id="c", name="look", arguments="{}")
    llm = a_model([call, call, "I saw.", "Bye."])
    async with an_agent(llm, keeps, tools=[look]) as agent:
        session = agent.create_session()
        await agent.run("Look.", session=session)
        await agent.run("Bye.", session=session)

        assert [shown(prompt) for prompt in llm.prompts] == [["Look."], ["seen"], ["seen"], ["Bye."]]
        assert known(llm, session) == ["Look.", "", "seen", "", "seen", "I saw.", "Bye.", "Bye."]


@either
async def test_only_what_is_to_be_mended_is_sent_for_a_shape(keeps: Kept) -> None:
    llm = a_model(["no JSON", '{"n":1}', '{"n":2}'])
    async with an_agent(llm, keeps, response_shape=SHAPE) as agent:
        session = agent.create_session()
        await agent.run("A number.", session=session)
        reply = await agent.run("Another.", session=session)

    assert reply.value == {"n": 2}
    assert [len(asked.messages) for asked in llm.asked] == [1, 1, 1]
    assert "does not have the shape" in told(llm)[1][0]
    assert all("JSON" in aside for aside in asides(llm))


@either
async def test_answer_that_was_taken_out_of_its_wrapping_goes_on(keeps: Kept) -> None:
    llm = a_model(['Sure: {"n":1}', '{"n":2}'])
    async with an_agent(llm, keeps, response_shape=SHAPE) as agent:
        session = agent.create_session()
        await agent.run("A number.", session=session)
        await agent.run("Another.", session=session)

        assert await texts(session) == ["A number.", '{"n":1}', "Another.", '{"n":2}']
    assert told(llm)[1] == ["Another."]
    assert llm.asked[1].leans_on is not None


@either
async def test_expired_id_is_recovered_with_everything_sent_once(keeps: Kept) -> None:
    llm = a_model()
    async with an_agent(llm, keeps, instructions="Be kind.") as agent:
        session = agent.create_session()
        await agent.run("one", session=session)
        llm.forget()
        reply = await agent.run("two", session=session)
        await agent.run("three", session=session)

        assert reply.text == "two"
        assert told(llm)[1:] == [["two"], ["one", "one", "two"], ["three"]]
        assert asides(llm) == ["Be kind."] * 4
        assert known(llm, session) == ["one", "one", "two", "two", "three", "three"]


@either
async def test_id_that_expires_between_uses_of_tools_is_recovered(keeps: Kept) -> None:
    def reply(prompt: Prompt) -> ScriptedReply:
        if prompt.messages[-1].role == "tool":
            return "I saw."
        return ToolCall(id="c", name="look", arguments="{}")

    @tool(is_idempotent=True)
    def look() -> str:
        """Look, while the service forgets."""
        llm.forget()
        return "seen"

    llm = a_model(reply)
    async with an_agent(llm, keeps, tools=[look]) as agent:
        session = agent.create_session()
        reply_ = await agent.run("Look.", session=session)

        assert reply_.text == "I saw."
        assert known(llm, session) == ["Look.", "", "seen", "I saw."]


@either
@pytest.mark.parametrize("how", ["withdraw", "erase"])
async def test_what_is_hidden_begins_a_new_chain(keeps: Kept, how: str) -> None:
    llm = a_model()
    async with an_agent(llm, keeps) as agent:
        session = agent.create_session()
        await agent.run("a secret", session=session)
        await agent.run("two", session=session)
        before = session.service_session_id
        await getattr(session, how)(1, 2)
        await agent.run("three", session=session)

        assert shown(llm.prompts[-1]) == ["two", "two", "three"]
        assert known(llm, session) == ["two", "two", "three", "three"]
        assert session.service_session_id != before


@either
async def test_what_was_put_in_is_told(keeps: Kept) -> None:
    llm = a_model()
    async with an_agent(llm, keeps) as agent:
        session = agent.create_session()
        await agent.run("one", session=session)
        await session.append(["between"])
        await agent.run("two", session=session)

        assert known(llm, session) == ["one", "one", "between", "two", "two"]


@either
async def test_other_texts_of_the_agent_are_told_and_need_no_new_chain(keeps: Kept) -> None:
    knowing = Knowing(RunContext(instructions="Rule 1."))
    llm = a_model()
    async with an_agent(llm, keeps, context_providers=[knowing]) as agent:
        session = agent.create_session()
        await agent.run("one", session=session)
        await agent.run("two", session=session)
        knowing.context = RunContext(instructions="Rule 2.")
        await agent.run("three", session=session)

        assert asides(llm) == ["Rule 1.", "Rule 1.", "Rule 2."]
        assert told(llm) == [["one"], ["two"], ["three"]]
        assert known(llm, session) == ["one", "one", "two", "two", "three", "three"]
    if keeps == "answers":
        assert [asked.follows for asked in llm.asked] == [None, "answer_1", "answer_2"]
    else:
        assert {asked.within for asked in llm.asked} == {"conversation_1"}


@either
async def test_instructions_of_an_agent_that_were_changed_need_no_new_chain(
    keeps: Kept, sqlite_url: str
) -> None:
    llm = a_model()
    async with an_agent(llm, keeps, instructions="Be kind.", store=sqlite_url) as agent:
        await agent.run("one", session=agent.create_session("x"))

    async with an_agent(llm, keeps, instructions="Be brief.", store=sqlite_url) as other:
        session = other.create_session("x")
        await other.run("two", session=session)

        assert asides(llm) == ["Be kind.", "Be brief."]
        assert told(llm) == [["one"], ["two"]]
        assert known(llm, session) == ["one", "one", "two", "two"]


@either
async def test_what_is_recalled_is_told_in_every_call_and_kept_nowhere(keeps: Kept) -> None:
    look_now = ToolCall(id="c", name="look", arguments="{}")
    llm = a_model([look_now, look_now, "I saw.", "Yes."])
    knowing = Knowing(RunContext(instructions="Rule.", messages=["Fact 1.", "Fact 2."]))
    company: dict[str, Any] = {"context_providers": [knowing], "tools": [look]}
    async with an_agent(llm, keeps, instructions="Be kind.", **company) as agent:
        session = agent.create_session()
        await agent.run("one", session=session)
        knowing.context = RunContext(messages=["Fact 3."])
        await agent.run("two", session=session)

        assert asides(llm) == [*["Be kind.\n\nRule.\n\nFact 1.\n\nFact 2."] * 3, "Be kind.\n\nFact 3."]
        assert told(llm) == [["one"], ["seen"], ["seen"], ["two"]]
        assert known(llm, session) == ["one", "", "seen", "", "seen", "I saw.", "two", "Yes."]
    kept = [text for said in llm.kept.values() for text in shown(said)]
    assert not [text for text in kept if "Fact" in str(text) or "Rule" in str(text) or "kind" in str(text)]


@either
async def test_what_is_recalled_is_told_again_to_a_service_that_has_lost_everything(keeps: Kept) -> None:
    llm = a_model()
    knowing = Knowing(RunContext(messages=["Fact."]))
    async with an_agent(llm, keeps, instructions="Be kind.", context_providers=[knowing]) as agent:
        session = agent.create_session()
        await agent.run("one", session=session)
        llm.forget()
        await agent.run("two", session=session)

        assert told(llm)[1:] == [["two"], ["one", "one", "two"]]
        assert asides(llm) == ["Be kind.\n\nFact."] * 3
        assert known(llm, session) == ["one", "one", "two", "two"]


@either
async def test_end_is_judged_with_what_was_recalled_and_nothing_of_it_is_kept(keeps: Kept) -> None:
    llm = a_model(["Hi.", {"is_over": True, "reason": "done"}])
    knowing = Knowing(RunContext(instructions="Rule.", messages=["Fact."]))
    settings = {"check_end": True}
    async with an_agent(llm, keeps, settings=settings, context_providers=[knowing]) as agent:
        session = agent.create_session()
        reply = await agent.run("1", session=session)

        assert reply.closed == "done"
        assert asides(llm) == ["Rule.\n\nFact."] * 2
        assert told(llm)[1][:-1] == ["1", "Hi."]
        assert known(llm, session) == ["1", "Hi."]
    assert not [text for said in llm.kept.values() for text in shown(said) if text in {"Rule.", "Fact."}]


@either
async def test_failed_call_is_told_once(keeps: Kept) -> None:
    llm = a_model(["one", ModelBusy("too much"), "three"])
    async with an_agent(llm, keeps) as agent:
        session = agent.create_session()
        await agent.run("1", session=session)
        with pytest.raises(ModelBusy):
            await agent.run("2", session=session)
        await agent.run("3", session=session)

        assert known(llm, session) == ["1", "one", "2", "3", "three"]


@either
async def test_failure_in_the_middle_of_a_turn_leaves_no_open_calls(keeps: Kept) -> None:
    llm = a_model(["Hi.", ToolCall(id="c", name="look", arguments="{}"), ModelBusy("too much"), "Sorry."])
    async with an_agent(llm, keeps, tools=[look]) as agent:
        session = agent.create_session()
        await agent.run("1", session=session)
        with pytest.raises(ModelBusy):
            await agent.run("2", session=session)
        await agent.run("3", session=session)

        assert known(llm, session) == ["1", "Hi.", "2", "", "seen", "3", "Sorry."]
        # An answer can be followed once more, and what came after it is left alone.
        assert shown(llm.prompts[-1])[0] == ("2" if keeps == "answers" else "1")
        assert await texts(session) == ["1", "Hi.", "2", "", "", "3", "Sorry."]


@either
async def test_answer_that_was_cut_short_and_kept_is_told(keeps: Kept) -> None:
    llm = ScriptedLLM(["Hi.", "word " * 20, "Bye."], keeps_answers=True, chunk=5, delay=0.001)
    async with an_agent(llm, keeps) as agent:
        session = agent.create_session()
        await agent.run("1", session=session)
        runtime = await agent._host.runtime()
        with pytest.raises(RunCancelled):
            async for event in agent.run_stream("2", session=session):
                if isinstance(event, RunStarted):
                    run_id = event.run_id
                if isinstance(event, TextDelta):
                    await runtime.cancel(run_id, keep_partial=True)
        cut = (await session.messages())[-1].text
        await agent.run("3", session=session)

        assert cut.startswith("word")
        assert known(llm, session) == ["1", "Hi.", "2", cut, "3", "Bye."]


@either
async def test_turn_that_came_to_nothing_is_not_told_twice(keeps: Kept) -> None:
    llm = a_model(['{"n":1}', "no", "no", "no", '{"n":3}'])
    async with an_agent(llm, keeps, response_shape=SHAPE) as agent:
        session = agent.create_session()
        await agent.run("1", session=session)
        with pytest.raises(ShapeMismatch):
            await agent.run("2", session=session)
        await agent.run("3", session=session)

        assert known(llm, session) == ["1", '{"n":1}', "2", "3", '{"n":3}']


@either
async def test_run_that_is_used_up_in_the_middle_goes_on_later(keeps: Kept) -> None:
    call = ToolCall(id="c", name="look", arguments="{}")
    llm = a_model([call, "Done."])
    async with an_agent(llm, keeps, tools=[look]) as agent:
        session = agent.create_session()
        with pytest.raises(Exception, match="steps"):
            await agent.run("1", session=session, limits=RunLimits(max_steps=1))
        await agent.run("2", session=session)

        assert known(llm, session)[-2:] == ["2", "Done."]
        assert [text for text in known(llm, session) if text == "1"] == ["1"]


@either
async def test_ending_is_judged_from_our_own_copy(keeps: Kept) -> None:
    llm = a_model(["Hi.", {"is_over": False, "reason": ""}, "Bye.", {"is_over": True, "reason": "done"}])
    async with an_agent(llm, keeps, settings={"check_end": True}) as agent:
        session = agent.create_session()
        await agent.run("1", session=session)
        reply = await agent.run("2", session=session)

        assert reply.closed == "done"
        assert known(llm, session) == ["1", "Hi.", "2", "Bye."]
    assert [shown(prompt)[:-1] for prompt in llm.prompts] == [[], ["1", "Hi."], [], ["1", "Hi.", "2", "Bye."]]
    assert [asked.leans_on is None for asked in llm.asked[1::2]] == [True, True]


@either
async def test_end_is_judged_of_what_leaves_no_room_for_what_was_recalled(keeps: Kept) -> None:
    long, not_over = "word " * 1400, {"is_over": False, "reason": ""}
    llm = a_model(["Hi.", not_over, "Bye.", {"is_over": True, "reason": "done"}])
    company: dict[str, Any] = {"context_providers": [Knowing(RunContext(messages=["Fact."]))]}
    settings = {"check_end": True}
    async with an_agent(llm, keeps, settings=settings, context_tokens=2000, **company) as agent:
        session = agent.create_session()
        await agent.run("1", session=session)
        reply = await agent.run(long, session=session)

    assert reply.closed == "done"
    assert asides(llm) == ["Fact.", "Fact.", "Fact.", ""]
    assert told(llm)[2:] == [[long], [*told(llm)[3][:-3], long, "Bye.", told(llm)[1][-1]]]


@either
async def test_number_of_turns_is_counted_beside_the_link(keeps: Kept) -> None:
    llm = a_model()
    async with an_agent(llm, keeps, settings={"max_turns": 3}) as agent:
        session = agent.create_session()
        closed = [(await agent.run(text, session=session)).closed for text in "123"]

    assert [reason is not None for reason in closed] == [False, False, True]
    assert [len(prompt) for prompt in llm.prompts] == [1, 1, 1]


async def test_service_that_keeps_nothing_of_an_answer_is_told_everything() -> None:
    class Forgetful(ScriptedLLM):
        @override
        async def stream(self, prompt: Prompt) -> Any:
            async for event in super().stream(prompt):
                yield (
                    Finished(text=event.text, model=event.model, usage=event.usage)
                    if isinstance(event, Finished)
                    else event
                )

    llm = Forgetful(echo, keeps_answers=True)
    async with an_agent(llm) as agent:
        session = agent.create_session()
        await agent.run("one", session=session)
        await agent.run("two", session=session)

        assert session.service_session_id is None
    assert shown(llm.prompts[1]) == ["one", "one", "two"]


async def test_service_that_lacks_very_much_is_told_everything_that_fits() -> None:
    llm = a_model()
    async with an_agent(llm, context_tokens=500) as agent:
        session = agent.create_session()
        await agent.run("one", session=session)
        await session.append([f"{n} word" for n in range(300)])
        await agent.run("two", session=session)

    assert llm.asked[1].follows is None
    assert 1 < len(llm.prompts[1]) < 300


async def test_other_model_begins_a_new_chain() -> None:
    first, second = a_model(), ScriptedLLM(echo, keeps_answers=True, name="scripted:other")
    agent = an_agent(first)
    session = agent.create_session()
    await agent.run("one", session=session)
    told = session.to_dict()
    await agent.close()

    async with an_agent(second) as other:
        again = other.restore_session(told)
        await other.run("two", session=again)

    assert shown(second.prompts[0]) == ["one", "one", "two"]


@pytest.mark.parametrize(("before", "after"), [("answers", "conversation"), ("conversation", "answers")])
async def test_other_way_of_keeping_begins_anew(before: Kept, after: Kept) -> None:
    llm = a_model()
    agent = an_agent(llm, before)
    session = agent.create_session()
    await agent.run("one", session=session)
    told = session.to_dict()
    await agent.close()

    async with an_agent(llm, after) as other:
        again = other.restore_session(told)
        await other.run("two", session=again)
        await other.run("three", session=again)

        assert known(llm, again) == ["one", "one", "two", "two", "three", "three"]
    assert [len(prompt) for prompt in llm.prompts] == [1, 3, 1]


def histories() -> dict[str, Callable[[], Any]]:
    notebook = Notebook()
    return {
        "log": lambda: None,
        "service": ServiceHistoryProvider,
        "notebook": lambda: notebook,
    }


PAIRS = [(one, other) for one in histories() for other in histories() if one != other]


@pytest.mark.parametrize(("before", "after"), PAIRS)
async def test_history_has_one_owner_from_the_first_answer_on(
    before: str, after: str, sqlite_url: str
) -> None:
    llm, places = a_model(), histories()
    async with Agent(llm, name="Chef", store=sqlite_url, history=places[before]()) as agent:
        await agent.run("one", session=agent.create_session("x"))

    async with Agent(llm, name="Chef", store=sqlite_url, history=places[after]()) as other:
        session = other.create_session("x")
        with pytest.raises(SessionMismatch, match="move_history=True"):
            await other.run("two", session=session)
        moved = await other.run("three", session=session, move_history=True)
        stays = await other.run("four", session=session)

        assert (moved.text, stays.text) == ("three", "four")
        assert await texts(session) == ["one", "one", "three", "three", "four", "four"]
    assert shown(llm.prompts[1]) == ["one", "one", "three"]
    async with Agent(llm, name="Chef", store=sqlite_url, history=places[before]()) as agent:
        with pytest.raises(SessionMismatch):
            await agent.run("five", session=agent.create_session("x"))


@pytest.mark.parametrize("where", ["service", "notebook"])
async def test_owner_is_not_decided_by_runs_that_failed_nor_by_what_was_put_in(where: str) -> None:
    llm = a_model([ModelBusy("no"), "Hi."])
    async with Agent(llm, name="Chef", history=histories()[where]()) as agent:
        session = agent.create_session()
        await session.append(["before"])
        with pytest.raises(ModelBusy):
            await agent.run("one", session=session)
        await session.append(["between"])
        reply = await agent.run("two", session=session)

    assert reply.text == "Hi."
    assert shown(llm.prompts[-1]) == ["before", "one", "between", "two"]


@pytest.mark.parametrize("where", ["service", "notebook"])
async def test_owner_is_decided_by_a_turn_that_was_broken_off(where: str) -> None:
    llm = a_model([ToolCall(id="c", name="look", arguments="{}"), ModelBusy("no"), "Hi."])
    async with Agent(llm, name="Chef", tools=[look], history=histories()[where]()) as agent:
        session = agent.create_session()
        with pytest.raises(ModelBusy):
            await agent.run("one", session=session)
        reply = await agent.run("two", session=session)

    assert reply.text == "Hi."


@pytest.mark.parametrize("where", ["service", "notebook"])
@pytest.mark.parametrize("at", [0, 2, 4])
async def test_branch_is_kept_where_its_agent_keeps_history(where: str, at: int) -> None:
    llm = a_model()
    async with Agent(llm, name="Chef", history=histories()[where]()) as agent:
        session = agent.create_session()
        for text in ("one", "two"):
            await agent.run(text, session=session)
        branch = await session.fork(at)
        for text in ("three", "four"):
            await agent.run(text, session=branch)
        await agent.run("five", session=session)

        before = ["one", "one", "two", "two"]
        assert await texts(branch) == [*before[:at], "three", "three", "four", "four"]
        assert await texts(session) == [*before, "five", "five"]
    if where == "notebook":
        assert shown(llm.prompts[-2]) == [*before[:at], "three", "three", "four"]
        assert shown(llm.prompts[-1]) == [*before, "five"]


async def test_two_branches_of_one_answer_go_on_from_it_each_by_itself() -> None:
    llm = a_model()
    async with an_agent(llm) as agent:
        session = agent.create_session()
        await agent.run("one", session=session)
        branch = await session.fork()
        await agent.run("left", session=session)
        await agent.run("right", session=branch)

        assert known(llm, session) == ["one", "one", "left", "left"]
        assert known(llm, branch) == ["one", "one", "right", "right"]


async def test_two_branches_do_not_mix_in_one_conversation_of_the_service() -> None:
    llm = a_model()
    async with an_agent(llm, "conversation") as agent:
        session = agent.create_session()
        await agent.run("one", session=session)
        branch = await session.fork()
        await agent.run("left", session=session)
        await agent.run("right", session=branch)

        assert known(llm, session) == ["one", "one", "left", "left"]
        assert known(llm, branch) == ["one", "one", "right", "right"]


async def test_audit_beside_the_service_is_told() -> None:
    audit = Notebook()
    history: list[AgentHistory] = [ServiceHistoryProvider(), Recording(audit)]
    async with Agent(a_model(), name="Chef", history=history) as agent:
        await agent.run("one", session=agent.create_session())

    assert audit.texts() == ["one", "one"]


async def test_nothing_is_kept_at_the_service_without_a_session() -> None:
    llm = a_model()
    async with an_agent(llm) as agent:
        await agent.run("alone")

    assert not llm.asked[0].settings.store
    assert not llm.kept


async def test_log_that_was_moved_to_from_a_service_is_shown() -> None:
    llm = a_model()
    history = [InMemoryHistoryProvider()]
    agent = an_agent(llm)
    session = agent.create_session()
    await agent.run("one", session=session)
    told = session.to_dict()
    await agent.close()

    async with Agent(llm, name="Chef", history=history) as other:
        again = other.restore_session(told)
        with pytest.raises(SessionMismatch):
            await other.run("two", session=again)
        await other.run("three", session=again, move_history=True)

    assert shown(llm.prompts[-1]) == ["one", "one", "three"]
    assert llm.asked[-1].leans_on is None


def uses_a_tool(prompt: Prompt) -> ScriptedReply:
    """Look first, and then say what was said."""
    if prompt.messages[-1].role == "tool":
        return "I saw."
    return ToolCall(id="c", name="look", arguments="{}")


@either
async def test_process_may_die_anywhere_and_the_service_has_everything_once(keeps: Kept) -> None:
    alive = await _lives(keeps, Death(10_000))
    for passing in moments(alive):
        death = await _lives(keeps, Death(passing))

        assert death.has_come, alive.passed[passing - 1]


async def _lives(keeps: Kept, death: Death) -> Death:
    """Have three messages answered, the second one by a process that dies."""
    house, llm = await a_house(AgentDefinition(name="Chef")), a_model(uses_a_tool)

    def make() -> Agent:
        return an_agent(llm, keeps, tools=[look])

    async with a_program(house, make()) as process:
        await process.ask("1")
    await die_and_go_on(house, make, "2", death)
    async with a_program(house, make()) as process:
        await process.ask("3")

    state = orjson.loads((await house.store.conversations.get(0, house.row.id)).state or "{}")
    kept = shown(llm.kept[state["service"]["within"] or state["service"]["follows"]])
    assert kept == [each for n in "123" for each in (n, "", "seen", "I saw.")], death.passed[-1:]
    return death


@either
async def test_first_run_may_die_after_its_first_call(keeps: Kept) -> None:
    house, llm = await a_house(AgentDefinition(name="Chef")), a_model(uses_a_tool)

    def make() -> Agent:
        return an_agent(llm, keeps, tools=[look])

    await die_and_go_on(house, make, "1", death_at("journal.after"))

    state = orjson.loads((await house.store.conversations.get(0, house.row.id)).state or "{}")
    kept = shown(llm.kept[state["service"]["within"] or state["service"]["follows"]])
    assert kept == ["1", "", "seen", "I saw."]
