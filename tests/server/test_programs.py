"""Agents written in Python are served as those that are stored are, with everything that they have."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typing_extensions import override

from tertulia import Agent, ContextProvider, RunContext, tool
from tertulia.app import App
from tertulia.conversations import DEFAULT_TENANT, NewConversation
from tertulia.engine import ActiveRun, Performer, Turn
from tertulia.errors import InvalidInput
from tertulia.ids import CONVERSATION, new_id
from tertulia.llms.scripted import ScriptedLLM
from tertulia.memory.reducers.truncation import TruncationReducer
from tertulia.memory.sessions import ProviderRun
from tertulia.parts import ToolCall
from tertulia.runtime import Runtime
from tertulia.settings import Settings
from tertulia.stores import open_store
from tests.server.conftest import serving
from tests.server.doing import an_agent, log_of, said, until

ORDERS: list[str] = []


def order_unasked(fruit: str) -> str:
    """Order fruit from the market."""
    ORDERS.append(fruit)
    return f"{fruit}: ordered"


order = tool(name="order")(order_unasked)


class Pantry(ContextProvider):
    """Knows what is in stock."""

    def __init__(self) -> None:
        self.closed = 0

    @override
    async def before_run(self, run: ProviderRun) -> RunContext | None:
        return RunContext(instructions="There are pears in the pantry.")

    @override
    async def close(self) -> None:
        self.closed += 1


@asynccontextmanager
async def served(*agents: Agent, **chosen: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """Serve these agents."""
    usual: dict[str, Any] = {"database_url": "memory://", "model": "scripted:echo", "shutdown_seconds": 0}
    async with serving(App(Settings(**usual | chosen), agents=agents)) as client:
        yield client


async def ask(client: httpx2.AsyncClient, text: str, **addressed: str) -> httpx2.Response:
    """Say something to an agent, or in a conversation."""
    return await client.post("/agents/chat-agent", json={"message": text, **addressed})


async def test_an_agent_in_python_answers_with_its_tools_and_what_it_is_told() -> None:
    llm = ScriptedLLM([ToolCall(id="call_1", name="order", arguments='{"fruit": "figs"}'), "Figs it is."])
    chef = Agent(llm, name="chef", tools=[order], context_providers=[Pantry()])

    async with served(chef) as client:
        answer = await ask(client, "Order figs.", agent_id="chef")
        log = await log_of(client, answer.json()["conversation_id"])

    assert answer.json()["response"] == "Figs it is."
    assert ORDERS == ["figs"]
    assert "There are pears in the pantry." in str(llm.prompts[0])
    assert [message["role"] for message in log] == ["user", "assistant", "tool", "assistant"]


async def test_its_reducers_shape_what_it_is_shown() -> None:
    llm = ScriptedLLM(lambda prompt: "ok")
    chef = Agent(llm, name="chef", reducers=[TruncationReducer(3)])

    async with served(chef) as client:
        first = (await ask(client, "message 0", agent_id="chef")).json()["conversation_id"]
        for number in (1, 2, 3):
            await ask(client, f"message {number}", conversation_id=first)
        log = await log_of(client, first)

    assert len(log) == 8
    assert "message 0" not in str(llm.prompts[-1])
    assert "message 3" in str(llm.prompts[-1])


async def test_stored_agents_are_served_beside_it() -> None:
    async with served(Agent(ScriptedLLM(["Soup"]), name="chef")) as client:
        await an_agent(client, name="parrot")
        answers = [await ask(client, "hello", agent_id=name) for name in ("parrot", "chef")]

    assert [answer.json()["response"] for answer in answers] == ["hello", "Soup"]


async def test_models_that_it_only_names_are_the_servers() -> None:
    named = Agent("scripted:text=Soup", name="chef", tools=[order])
    nameless = Agent(name="waiter", tools=[order])

    async with served(named, nameless, model="scripted:text=Hello") as client:
        answers = [await ask(client, "hi", agent_id=name) for name in ("chef", "waiter")]

    assert [answer.json()["response"] for answer in answers] == ["Soup", "Hello"]


async def test_limits_of_the_installation_count_for_it() -> None:
    call = ToolCall(id="call_1", name="order", arguments='{"fruit": "figs"}')
    llm = ScriptedLLM(lambda prompt: call)

    async with served(Agent(llm, name="chef", tools=[order]), run_max_steps=3) as client:
        answer = await ask(client, "Order figs.", agent_id="chef")

    assert (answer.status_code, answer.json()["code"]) == (429, "budget_exceeded")
    assert len(llm.prompts) == 2


async def test_it_works_on_the_servers_store_whatever_it_names_itself(tmp_path: Path) -> None:
    own, ours = tmp_path / "own.db", f"sqlite:///{tmp_path / 'ours.db'}"
    chef = Agent(ScriptedLLM(["Soup"]), name="chef", store=f"sqlite:///{own}")

    async with served(chef, database_url=ours) as client:
        conversation = (await ask(client, "hi", agent_id="chef")).json()["conversation_id"]

    async with served(database_url=ours) as client:
        log = await log_of(client, conversation)
    assert said(log) == ["hi", "Soup"]
    assert not own.exists()


async def test_a_session_of_the_library_goes_on_over_http(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    llm = ScriptedLLM(lambda prompt: f"shown {len(prompt.messages)}")
    async with Agent(llm, name="chef", tools=[order], store=url) as chef:
        await chef.run("one", session=chef.create_session("dinner"))

    async with served(Agent(llm, name="chef", tools=[order], store=url), database_url=url) as client:
        answer = await ask(client, "two", conversation_id="dinner")
        shown = await client.get("/v1/agents/chef")

    assert answer.json()["response"] == "shown 3"
    assert shown.json()["version"] == 1


async def test_a_server_that_does_not_serve_it_says_so_and_keeps_what_was_said(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    async with served(Agent(ScriptedLLM([]), name="chef", tools=[order]), database_url=url):
        pass

    async with served(database_url=url) as client:
        failed = await ask(client, "Soup, please.", agent_id="chef")
        problem = failed.json()
        run = (await client.get(f"/v1/runs/{problem['run_id']}")).json()
        log = await log_of(client, run["conversation_id"])
    chef = Agent(ScriptedLLM(["Here it is."]), name="chef", tools=[order])
    async with served(chef, database_url=url) as client:
        retried = await client.post(f"/v1/runs/{problem['run_id']}/retry")
        log_after = await log_of(client, run["conversation_id"])

    assert (failed.status_code, problem["code"]) == (503, "not_served_here")
    assert "tertulia serve" in problem["detail"]
    assert failed.headers["x-should-retry"] == "false"
    assert (run["status"], said(log)) == ("failed", ["Soup, please."])
    assert (retried.status_code, retried.json()["status"]) == (200, "completed")
    assert said(log_after) == ["Soup, please.", "Here it is."]


class Hanging(Performer):
    """Begins, and comes to no end."""

    def __init__(self) -> None:
        self.has_begun = False

    @override
    async def perform(self, run: ActiveRun) -> Turn | None:
        self.has_begun = True
        await asyncio.Event().wait()
        return None


async def test_what_a_program_has_left_undone_is_carried_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    chef = Agent(ScriptedLLM(["Here it is."]), name="chef", tools=[order])
    async with served(chef, database_url=url):
        pass
    hanging = Hanging()
    program = Runtime(open_store(url), {"program:chef": hanging})
    await program.start()
    agent = await program.store.agents.get(DEFAULT_TENANT, "chef")
    new = NewConversation(id=new_id(CONVERSATION), agent_id=agent.id)
    ticket = await program.submit("Soup, please.", conversation=new)
    await until(lambda: hanging.has_begun)
    await program.stop()

    async with served(chef, database_url=url) as client:
        await client.get(f"/v1/runs/{ticket.run.id}/events")
        log = await log_of(client, ticket.conversation.id)

    assert said(log) == ["Soup, please.", "Here it is."]


async def test_its_conversations_are_summed_up_by_its_model() -> None:
    llm = ScriptedLLM(["Soup", '{"summary": "They had soup."}'])

    async with served(Agent(llm, name="chef", tools=[order])) as client:
        conversation = (await ask(client, "hi", agent_id="chef")).json()["conversation_id"]
        body = {"conversation_id": conversation}
        summary = await client.post("/agents/summarize-conversation", json=body)
        log = await log_of(client, conversation)

    assert summary.json() == {"conversation_id": conversation, "summary": "They had soup."}
    assert said(log) == ["hi", "Soup"]


async def test_what_it_has_opened_is_closed_with_the_server() -> None:
    pantry = Pantry()

    async with served(Agent(ScriptedLLM(["Soup"]), name="chef", context_providers=[pantry])) as client:
        await ask(client, "hi", agent_id="chef")
        before = pantry.closed

    assert (before, pantry.closed) == (0, 1)


class Jammed(Pantry):
    """Cannot be closed."""

    @override
    async def close(self) -> None:
        raise RuntimeError("the door is jammed")


async def test_what_others_have_opened_is_closed_although_one_cannot_be() -> None:
    pantry = Pantry()
    agents = [
        Agent(ScriptedLLM([]), name=name, context_providers=[provider])
        for name, provider in (("chef", pantry), ("cook", Jammed()), ("waiter", Pantry()))
    ]
    app = App(Settings(database_url="memory://", model="scripted:echo"), agents=agents)
    await app.start()

    with pytest.raises(RuntimeError, match="jammed"):
        await app.stop()

    assert pantry.closed == 1


async def test_the_use_of_its_tools_is_approved_over_http() -> None:
    call = ToolCall(id="call_1", name="order", arguments='{"fruit": "quinces"}')
    careful = tool(needs_approval=True, name="order")(order_unasked)
    chef = Agent(ScriptedLLM([call, "Quinces it is."]), name="chef", tools=[careful])

    async with served(chef) as client:
        waiting = await ask(client, "Order quinces.", agent_id="chef")
        before = [*ORDERS]
        run = waiting.json()["run_id"]
        path = (await client.get(f"/v1/runs/{run}")).json()["wait"]["path"]
        await client.post(f"/v1/runs/{run}/decide", json={"verdict": "approve", "path": path})
        await client.get(f"/v1/runs/{run}/events")
        ended = (await client.get(f"/v1/runs/{run}")).json()

    assert (waiting.status_code, waiting.json()["code"]) == (409, "needs_attention")
    assert "quinces" not in before
    assert ORDERS[-1] == "quinces"
    assert ended["status"] == "completed"


async def test_its_program_is_shown_and_nobody_else_can_change_it() -> None:
    async with served(Agent(ScriptedLLM(["Soup"]), name="chef")) as client:
        shown = (await client.get("/v1/agents/chef")).json()
        changed = await client.post("/v1/agents/chef", json={"instructions": "Be rude."})
        after = (await client.get("/v1/agents/chef")).json()

    assert shown["program"] == "program:chef"
    assert (changed.status_code, changed.json()["code"]) == (409, "conflict")
    assert "is part of a program" in changed.json()["detail"]
    assert after == shown


@pytest.mark.parametrize("path", ["/agents/create-agent", "/v1/agents/parrot"])
async def test_a_program_cannot_be_claimed_over_http(path: str) -> None:
    body = {"context": "", "first_message": "", "response_shape": "", "instructions": ""}

    async with served() as client:
        made = await an_agent(client, name="parrot")
        response = await client.post(path, json=body | {"program": "program:chef"})

    assert made["program"] is None
    assert response.status_code == 422
    assert response.json()["errors"][0]["loc"] == ["body", "program"]


async def test_an_agent_that_any_server_could_carry_out_can_be_changed() -> None:
    async with served(Agent("scripted:echo", name="parrot")) as client:
        shown = (await client.get("/v1/agents/parrot")).json()
        changed = await client.post("/v1/agents/parrot", json={"model": "scripted:text=No."})
        answer = await ask(client, "hello", agent_id="parrot")

    assert shown["program"] is None
    assert changed.json()["version"] == 2
    assert answer.json()["response"] == "No."


def test_two_agents_of_one_name_are_refused_before_anything_is_opened() -> None:
    agents = [Agent(ScriptedLLM([]), name="chef"), Agent("scripted:echo", name="chef")]

    with pytest.raises(InvalidInput, match="two agents are named 'chef'"):
        App(Settings(database_url="memory://"), agents=agents)


async def test_an_agent_that_cannot_be_stored_keeps_the_server_from_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pantry = Pantry()
    app = App(
        Settings(database_url="memory://", model="scripted:echo"),
        agents=[Agent(ScriptedLLM([]), name="chef", context_providers=[pantry])],
    )

    async def refuse(*_: object, **__: object) -> None:
        raise InvalidInput("no more agents can be stored")

    monkeypatch.setattr(app.store.agents, "create", refuse)
    with pytest.raises(InvalidInput, match="no more agents"):
        await app.start()

    assert pantry.closed == 1
    assert app.runtime.is_draining
