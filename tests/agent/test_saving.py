"""Sessions are saved as JSON, given away with a signature, and restored by the agent that they belong to."""

import json
import warnings
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import pytest
from typing_extensions import override

from tertulia.agent import Agent, Session
from tertulia.agent.saving import ConfigurationChanged
from tertulia.errors import InvalidInput, NotAuthorized, SessionMismatch
from tertulia.llms.scripted import ScriptedLLM
from tertulia.memory.history import FileHistoryProvider
from tertulia.memory.history.service import ServiceHistoryProvider
from tertulia.memory.reducers import SummarizationReducer
from tertulia.parts import ToolCall
from tertulia.tools.functions import tool
from tests.agent.company import Knowing, Notebook, Remembering, echo, left_in_memory, shown, texts

KEY = "a key of the application, long enough"


async def saved(agent: Agent, *said: str, id: str | None = None, user: str | None = None) -> dict[str, Any]:
    """Return a session as JSON that has been through a file, after this was said in it."""
    session = agent.create_session(id, user=user)
    for text in said:
        await agent.run(text, session=session)
    found: dict[str, Any] = json.loads(json.dumps(session.to_dict()))
    await agent.close()
    return found


async def test_session_outlives_the_process_without_a_store() -> None:
    llm = ScriptedLLM(["Hello, Ann.", "Ann."])
    told = await saved(Agent(llm, name="Host"), "I am Ann.", id="mine", user="ann")

    async with Agent(llm, name="Host") as agent:
        session = agent.restore_session(told)
        reply = await agent.run("Who am I?", session=session)

        assert reply.text == "Ann."
        assert (session.id, session.user) == ("mine", "ann")
        assert session.conversation_id == told["conversation_id"]
        assert await texts(session) == ["I am Ann.", "Hello, Ann.", "Who am I?", "Ann."]
    assert shown(llm.prompts[1]) == ["I am Ann.", "Hello, Ann.", "Who am I?"]


@pytest.mark.parametrize("turns", [1, 30])
async def test_saved_session_is_small_with_a_store(turns: int, sqlite_url: str) -> None:
    agent = Agent(ScriptedLLM(echo), name="Host", store=sqlite_url, context_providers=[Remembering()])
    told = await saved(agent, *["something to say"] * turns, user="ann")

    assert len(json.dumps(told)) < 500
    again = Agent(ScriptedLLM(echo), name="Host", store=sqlite_url, context_providers=[Remembering()])
    async with again:
        assert len(await again.restore_session(told).messages()) == 2 * turns


async def test_restored_session_has_what_was_said_before_it_is_run() -> None:
    told = await saved(Agent(ScriptedLLM(echo), name="Host"), "one")
    async with Agent(ScriptedLLM(echo), name="Host") as agent:
        session = agent.restore_session(json.dumps(told))

        assert session.to_dict() == told
        assert await texts(session) == ["one", "one"]
        assert session.to_dict() == told
        assert await texts(Session.from_dict(told, agent=agent)) == ["one", "one"]


async def test_uses_of_tools_and_marks_are_restored() -> None:
    @tool(is_idempotent=True)
    def look() -> str:
        """Look."""
        return "seen"

    llm = ScriptedLLM([ToolCall(id="c", name="look", arguments="{}"), "I saw.", "Yes."])
    async with Agent(llm, name="Host", tools=[look]) as agent:
        session = agent.create_session()
        await session.append(["a secret"])
        await agent.run("Look.", session=session)
        await session.withdraw(1)
        told = json.loads(json.dumps(session.to_dict()))

    async with Agent(llm, name="Host", tools=[look]) as agent:
        again = agent.restore_session(told)
        await agent.run("Did you?", session=again)

        assert [each.content for each in (await again.messages())[1:5]] == [
            each.content for each in (await session.messages())[1:5]
        ]
    assert "a secret" not in shown(llm.prompts[-1])
    assert [each["role"] for each in llm.prompts[-1]] == ["user", "assistant", "tool", "assistant", "user"]


async def test_what_context_providers_keep_of_a_session_is_restored() -> None:
    class Counting(Knowing):
        @override
        async def before_run(self, run: Any) -> None:
            run.state["runs"] = run.state.get("runs", 0) + 1
            counted.append(run.state["runs"])

    counted: list[int] = []
    told = await saved(Agent(ScriptedLLM(echo), name="Host", context_providers=[Counting()]), "1", "2")

    async with Agent(ScriptedLLM(echo), name="Host", context_providers=[Counting()]) as agent:
        await agent.run("3", session=agent.restore_session(told))

    assert told["states"]["knowing"] == {"runs": 2}
    assert counted == [1, 2, 3]


async def test_state_that_is_no_json_is_refused_and_reported() -> None:
    class Careless(Knowing):
        @override
        async def before_run(self, run: Any) -> None:
            run.state["client"] = object()

    async with Agent(ScriptedLLM(echo), context_providers=[Careless()]) as agent:
        session = agent.create_session()
        reply = await agent.run("Hi.", session=session)

        assert [failed.stage for failed in reply.failures] == ["before_run"]
        assert "JSON" in reply.failures[0].message
        assert "states" not in session.to_dict()


async def test_restored_session_with_its_own_history_provider_is_the_same(tmp_path: Any) -> None:
    llm = ScriptedLLM(echo)
    told = await saved(Agent(llm, name="Host", history=FileHistoryProvider(tmp_path)), "one", id="mine")

    async with Agent(llm, name="Host", history=FileHistoryProvider(tmp_path)) as agent:
        session = agent.restore_session(told)
        await agent.run("two", session=session)
        other = agent.create_session("other")
        await agent.run("three", session=other)

    assert "messages" not in told
    assert shown(llm.prompts[-2]) == ["one", "one", "two"]
    assert shown(llm.prompts[-1]) == ["three"]


async def test_message_that_was_withdrawn_before_saving_is_not_told_a_service_again() -> None:
    llm = ScriptedLLM(echo, keeps_answers=True)
    agent = Agent(llm, name="Host", history=ServiceHistoryProvider())
    session = agent.create_session()
    await agent.run("a secret", session=session)
    await agent.run("two", session=session)
    await session.withdraw(1, 2)
    told = session.to_dict()
    await agent.close()

    async with Agent(llm, name="Host", history=ServiceHistoryProvider()) as again:
        await again.run("three", session=again.restore_session(told))

    assert llm.asked[-1].follows is None
    assert shown(llm.prompts[-1]) == ["two", "two", "three"]


async def test_restored_session_goes_on_with_what_the_service_has() -> None:
    llm = ScriptedLLM(echo, keeps_answers=True)
    told = await saved(Agent(llm, name="Host", history=ServiceHistoryProvider()), "one", "two")

    async with Agent(llm, name="Host", history=ServiceHistoryProvider()) as agent:
        session = agent.restore_session(told)
        before = session.service_session_id
        await agent.run("three", session=session)

    assert before == told["service_session_id"] == llm.asked[-1].follows
    assert shown(llm.prompts[-1]) == ["three"]
    assert session.service_session_id not in {None, before}


async def test_message_that_was_withdrawn_before_saving_is_in_no_summary() -> None:
    def model(prompt: Any) -> str:
        said = " ".join(each.text for each in prompt.messages)
        return "a summary of a secret" if "a secret" in said else "a summary"

    llm = ScriptedLLM(echo)
    reducers = [SummarizationReducer(ScriptedLLM(model), target=2)]
    agent = Agent(llm, name="Host", reducers=reducers)
    session = agent.create_session()
    for text in ("a secret", "two", "three", "four"):
        await agent.run(text, session=session)
    assert any("a summary of a secret" in str(text) for text in shown(llm.prompts[-1]))
    await session.withdraw(1, 2)
    told = session.to_dict()
    await agent.close()

    async with Agent(llm, name="Host", reducers=reducers) as again:
        await again.run("five", session=again.restore_session(told))

    assert not any("secret" in str(text) for text in shown(llm.prompts[-1]))


async def test_live_session_is_not_set_back_by_what_was_saved_of_it() -> None:
    async with Agent(ScriptedLLM(echo), name="Host") as agent:
        session = agent.create_session()
        await agent.run("one", session=session)
        told = session.to_dict()
        await agent.run("two", session=session)
        again = agent.restore_session(told)
        await agent.run("three", session=again)

        assert await texts(session) == ["one", "one", "two", "two", "three", "three"]
        del session, again
        assert left_in_memory(agent) == 0


@pytest.mark.parametrize("is_stored", [False, True], ids=["memory", "sqlite"])
async def test_session_of_another_agent_is_restored_only_by_force(is_stored: bool, sqlite_url: str) -> None:
    where = sqlite_url if is_stored else None
    told = await saved(Agent(ScriptedLLM(echo), name="one", store=where), "I am Ann.")

    llm = ScriptedLLM(["Ann."])
    async with Agent(llm, name="other", store=where) as other:
        with pytest.raises(SessionMismatch, match="'one'"):
            other.restore_session(told)
        session = other.restore_session(told, force=True)
        reply = await other.run("Who am I?", session=session)
        again = other.restore_session(session.to_dict())

        assert reply.messages[0].author == "other"
        assert shown(llm.prompts[0]) == ["I am Ann.", "I am Ann.", "Who am I?"]
        assert await texts(again) == await texts(session)


@pytest.mark.parametrize(
    "changed",
    [
        {"instructions": "Be rude."},
        {"context": "At night."},
        {"first_message": "Hello!"},
        {"response_shape": {"type": "object"}},
        {"tools": [tool(is_idempotent=True)(echo)]},
        {"context_providers": [Knowing()]},
    ],
    ids=lambda changed: next(iter(changed)),
)
async def test_changed_configuration_warns_of_named_agents_and_raises_of_unnamed_ones(changed: Any) -> None:
    named = await saved(Agent(ScriptedLLM(echo), name="Host"), "one")
    unnamed = await saved(Agent(ScriptedLLM(echo)), "one")

    async with Agent(ScriptedLLM(echo), name="Host", **changed) as agent:
        with pytest.warns(ConfigurationChanged, match="'Host'") as warned:
            agent.restore_session(named)
        agent.restore_session(named, force=True)
    async with Agent(ScriptedLLM(echo), **changed) as agent:
        with pytest.raises(SessionMismatch):
            agent.restore_session(unnamed)
        agent.restore_session(unnamed, force=True)

    assert [each.filename for each in warned] == [__file__]


async def test_other_model_and_limits_are_the_same_agent() -> None:
    told = await saved(Agent(ScriptedLLM(echo, name="scripted:a")), "one")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with Agent("scripted:echo", limits={"max_steps": 3}, settings={"temperature": 0}) as agent:
            await agent.run("two", session=agent.restore_session(told))


@pytest.mark.parametrize(
    "broken",
    [
        "no JSON",
        "[]",
        "7",
        {},
        {"v": 2},
        {"type": "other"},
        {"agent": "Host"},
        {"id": 7},
        {"id": ""},
        {"conversation_id": "mine"},
        {"conversation_id": None},
        {"user": 7},
        {"messages": 7},
        {"messages": [7]},
        {"messages": [{"role": "nobody", "content": "x"}]},
        {"states": [1]},
        {"states": {"a": 2**70}},
        {"first_message": 7},
        {"closed": ["x"]},
        {"version": "1"},
        {"version": 0},
        {"service_session_id": 7},
    ],
    ids=str,
)
async def test_what_is_no_session_is_refused(broken: Any) -> None:
    told = await saved(Agent(ScriptedLLM(echo), name="Host"), "one")
    given = {**told, **broken} if isinstance(broken, dict) and broken else broken

    async with Agent(ScriptedLLM(echo), name="Host") as agent:
        with pytest.raises(InvalidInput):
            agent.restore_session(given)


async def test_signed_session_comes_back_as_it_was() -> None:
    async with Agent(ScriptedLLM(echo), name="Host") as agent:
        session = agent.create_session(user="ann")
        await agent.run("one", session=session)
        token = session.sign(KEY, expires_seconds=60)
        told = session.to_dict()
        del session

        again = agent.restore_signed(token, KEY.encode())
        assert again.to_dict() == told
        assert await texts(again) == ["one", "one"]
    assert token.isascii()
    assert "\n" not in token


def changed(token: str, *, name: str, value: object) -> str:
    """Return a signed session in which somebody has changed something, without the key."""
    version, payload, signature = token.split(".")
    told = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    told["session"][name] = value
    encoded = urlsafe_b64encode(json.dumps(told, separators=(",", ":")).encode()).decode().rstrip("=")
    return f"{version}.{encoded}.{signature}"


async def test_signed_session_that_was_changed_is_refused() -> None:
    async with Agent(ScriptedLLM(echo), name="Host") as agent:
        token = agent.create_session(user="ann").sign(KEY)
        version, payload, signature = token.split(".")
        wrong = [
            changed(token, name="user", value="bob"),
            f"v2.{payload}.{signature}",
            f"{version}.{payload}.",
            f"{version}.{payload}",
            f"{version}..{signature}",
            token[: len(token) // 2],
            token[:-4],
            token.swapcase(),
            f"{version}.{payload}.{'A' * len(signature)}",
            "",
            "v1.ä.ö",
            "v1.\ud800.x",
        ]
        for each in wrong:
            with pytest.raises(NotAuthorized):
                agent.restore_signed(each, KEY)
        with pytest.raises(NotAuthorized, match="another key"):
            agent.restore_signed(token, KEY + "!")

        assert agent.restore_signed(token, KEY).user == "ann"


async def test_signed_session_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000.0]
    monkeypatch.setattr("tertulia.agent.saving.time.time", lambda: now[0])
    async with Agent(ScriptedLLM(echo), name="Host") as agent:
        token = agent.create_session().sign(KEY, expires_seconds=60)
        lasting = agent.create_session().sign(KEY)
        now[0] += 59
        agent.restore_signed(token, KEY)
        now[0] += 2
        with pytest.raises(NotAuthorized, match="too old"):
            agent.restore_signed(token, KEY)

        agent.restore_signed(lasting, KEY)


async def test_session_that_is_too_large_is_not_signed() -> None:
    async with Agent(ScriptedLLM(echo), name="Host") as agent:
        session = agent.create_session()
        await session.append(["word " * 190_000])
        session.sign(KEY)
        await session.append(["word " * 20_000])
        with pytest.raises(InvalidInput, match="too large"):
            session.sign(KEY)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf")])
async def test_time_that_is_none_is_refused(seconds: float) -> None:
    async with Agent(ScriptedLLM(echo), name="Host") as agent:
        with pytest.raises(InvalidInput, match="seconds"):
            agent.create_session().sign(KEY, expires_seconds=seconds)


async def test_short_key_is_refused() -> None:
    async with Agent(ScriptedLLM(echo), name="Host") as agent:
        with pytest.raises(InvalidInput, match="16 bytes"):
            agent.create_session().sign("short")


@pytest.mark.parametrize("token", [None, "", "v2", 7, b"v1.x.y", "v1.ä.y"])
async def test_no_token_is_no_signed_session(token: Any) -> None:
    agent = Agent(ScriptedLLM(echo), name="Host")
    with pytest.raises(NotAuthorized, match="no signed session"):
        agent.restore_signed(token, KEY)


async def test_session_for_a_cookie_is_small_in_a_store_and_grows_without_one(sqlite_url: str) -> None:
    async with (
        Agent(ScriptedLLM(echo), name="Host", store=sqlite_url) as stored,
        Agent(ScriptedLLM(echo), name="Host") as agent,
    ):
        small, large = stored.create_session("mine", user="ann"), agent.create_session("mine", user="ann")
        for _ in range(8):
            await stored.run("what people say in a sentence or two", session=small)
            await agent.run("what people say in a sentence or two", session=large)

        assert len(small.sign(KEY, max_bytes=4000)) < 1000
        with pytest.raises(InvalidInput, match="keep it in a store"):
            large.sign(KEY, max_bytes=4000)
        again = agent.restore_signed(large.sign(KEY), KEY)
        assert len(await again.messages()) == 16


async def test_signed_session_of_another_agent_is_refused_as_any_other() -> None:
    async with Agent(ScriptedLLM(echo), name="one") as one, Agent(ScriptedLLM(echo), name="two") as two:
        token = one.create_session().sign(KEY)
        with pytest.raises(SessionMismatch):
            two.restore_signed(token, KEY)

        assert two.restore_signed(token, KEY, force=True).agent is two


async def test_history_that_only_writes_is_not_told_twice_after_restoring() -> None:
    notebook = Notebook()
    told = await saved(Agent(ScriptedLLM(echo), name="Host", history=notebook), "one", id="mine")

    async with Agent(ScriptedLLM(echo), name="Host", history=notebook) as agent:
        await agent.run("two", session=agent.restore_session(told))

    assert notebook.texts() == ["one", "one", "two", "two"]
