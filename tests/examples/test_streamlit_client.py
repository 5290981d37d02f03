"""The client for the browser, used against a server that runs."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from tertulia.parts import ToolCall
from tertulia.testing.fake_openai import FakeOpenAI
from tests.cli.serving import served
from tests.demanded import demanded
from tests.server.doing import an_agent, log_of, messages, say, until

testing = demanded("streamlit.testing.v1")

ROOT: Final = Path(__file__).parents[2]
CLIENT: Final = ROOT / "examples" / "streamlit_client.py"
SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class Browser:
    """The page as somebody sees and uses it."""

    page: Any

    async def look(self) -> None:
        """Load it anew."""
        await asyncio.to_thread(self.page.run)
        assert [each.value for each in self.page.exception] == []

    async def press(self, label: str) -> None:
        """Press a button."""
        [button] = [each for each in self.page.button if each.label == label]
        button.click()
        await self.look()

    async def write(self, text: str) -> None:
        """Say something."""
        self.page.chat_input[0].set_value(text)
        await self.look()

    async def choose(self, key: str, value: str) -> None:
        """Choose from a list."""
        self.page.selectbox(key=key).select(value)
        await self.look()

    @property
    def buttons(self) -> list[str]:
        """What the buttons in the middle say."""
        return [each.label for each in self.page.main.button]

    def shown(self, *kinds: str) -> list[str]:
        """Return the texts of these kinds, such as ``warning``."""
        return [str(each.value) for kind in kinds for each in self.page.get(kind)]

    @property
    def talk(self) -> list[tuple[str, str]]:
        """Who said what."""
        spoken = [(each.name, [*each.text, *each.markdown]) for each in self.page.chat_message]
        return [(name, "".join(part.value for part in parts)) for name, parts in spoken]


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> Browser:
    """A page that was not looked at yet, of a server that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("TERTULIA_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    return Browser(testing.AppTest.from_file(str(CLIENT), default_timeout=SECONDS))


@asynccontextmanager
async def serving(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: str
) -> AsyncIterator[httpx2.AsyncClient]:
    """Serve, and lead the page there."""
    async with served(folder, **({"TERTULIA_MODEL": "scripted:echo"} | settings)) as (_, client):
        monkeypatch.setenv("TERTULIA_URL", str(client.base_url))
        yield client


async def a_conversation_of(client: httpx2.AsyncClient, **chosen: object) -> str:
    agent = await an_agent(client, **chosen)
    response = await client.post("/agents/create-conversation", json={"agent_id": agent["id"]})
    return str(response.json()["id"])


async def test_without_a_server_it_says_how_to_start_one(browser: Browser) -> None:
    await browser.look()

    [told] = browser.shown("error")
    assert "`make serve`" in told
    assert browser.buttons == ["Try again"]


async def test_on_an_empty_database_an_agent_is_described_and_spoken_with(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as client:
        await browser.look()
        assert list(browser.page.main.markdown) == []
        assert "There is no agent yet" in browser.shown("info")[0]

        browser.page.text_input(key="new_name").input("chef")
        browser.page.text_area(key="new_context").input("You are a chef.")
        browser.page.text_input(key="new_first_message").input("For how many?")
        await browser.press("Create")
        await browser.write("Five of us.")
        [agent] = (await client.get("/agents/get-agents")).json()

    assert agent["name"] == "chef"
    assert browser.page.title[0].value == "chef"
    assert browser.talk == [
        ("assistant", "For how many?"),
        ("user", "Five of us."),
        ("assistant", "Five of us."),
    ]
    assert browser.shown("error", "warning") == []


async def test_an_agent_that_the_server_refuses_is_told_of(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as client:
        await an_agent(client, name="chef")
        await browser.look()

        browser.page.text_input(key="new_name").input("chef")
        await browser.press("Create")
        agents = (await client.get("/agents/get-agents")).json()

    assert len(agents) == 1
    assert len(browser.shown("error")) == 1


async def test_conversations_are_chosen_and_begun(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as client:
        first = await a_conversation_of(client, name="chef", first_message="")
        second = await a_conversation_of(client, name="waiter", first_message="")
        await say(client, first, "soup")
        await say(client, second, "the bill")
        await browser.look()

        talks = [browser.talk]
        agents = {agent["name"]: agent["id"] for agent in (await client.get("/agents/get-agents")).json()}
        await browser.choose("agent", agents["waiter"])
        talks.append(browser.talk)
        await browser.press("New conversation")
        talks.append(browser.talk)
        await browser.choose("conversation", second)
        talks.append(browser.talk)

    soup, bill = ([("user", text), ("assistant", text)] for text in ("soup", "the bill"))
    assert talks == [soup, bill, [], bill]


async def test_a_structured_answer_is_a_table_with_its_json(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dish = {"title": "Paella", "ingredients": ["rice", "peas"], "steps": [{"minutes": 5}, {"minutes": 20}]}
    shape = {"title": "name", "ingredients": "list of strings", "steps": "list of objects"}
    model = f"scripted:text={json.dumps(dish)}"
    async with serving(tmp_path, monkeypatch, TERTULIA_MODEL=model) as client:
        await say(client, await a_conversation_of(client, response_shape=shape), "hello")

        await browser.look()

    assert browser.page.table[0].value.to_dict("list") == {
        "field": ["title", "ingredients"],
        "value": ["Paella", "rice, peas"],
    }
    assert browser.page.dataframe[0].value.to_dict("list") == {"minutes": [5, 20]}
    assert json.loads(browser.page.json[0].value) == dish


async def test_what_failed_is_asked_again_and_said_once(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FakeOpenAI() as model:
        env = {
            "OPENAI_API_KEY": "sk-test",
            "OPENAI_BASE_URL": model.base_url,
            "TERTULIA_MODEL": "openai-chat:fake",
        }
        async with serving(tmp_path, monkeypatch, **env) as client:
            conversation = await a_conversation_of(client, first_message="")
            model.fault("401", times=2)
            await browser.look()
            await browser.write("soup")
            failed = browser.shown("warning")
            await browser.press("Ask again")
            failed_again = browser.shown("warning")
            await browser.press("Ask again")
            said = await messages(client, conversation)

    assert failed == failed_again
    assert failed[0].startswith("There is no answer to this.")
    assert browser.shown("warning", "error") == []
    assert browser.buttons == []
    assert [one["user_message"] for one in said] == ["soup"]
    assert browser.talk == [("user", "soup"), ("assistant", said[0]["agent_message"])]


async def test_what_may_have_been_lost_is_sent_again_and_said_once(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as client:
        conversation = await a_conversation_of(client, first_message="")
        await browser.look()
        lost = {"conversation": conversation, "message": "soup", "key": "k-1", "tried": True}
        await say(client, conversation, "soup", key="k-1")
        browser.page.session_state["unsent"] = lost
        await browser.look()
        await browser.press("Send again")
        said = await messages(client, conversation)

    assert [one["user_message"] for one in said] == ["soup"]
    assert browser.buttons == []


async def test_a_server_that_goes_away_takes_no_message_with_it(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as client:
        await a_conversation_of(client, first_message="")
        await browser.look()
    await browser.write("soup")
    told = browser.shown("error")

    async with serving(tmp_path, monkeypatch):
        await browser.press("Try again")

    assert "No server answers" in told[0]
    assert browser.talk == [("user", "soup"), ("assistant", "soup")]
    assert browser.shown("error") == []


async def test_what_is_being_answered_is_told_apart_from_what_failed(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FakeOpenAI() as model:
        env = {
            "OPENAI_API_KEY": "sk-test",
            "OPENAI_BASE_URL": model.base_url,
            "TERTULIA_MODEL": "openai-chat:fake",
        }
        async with serving(tmp_path, monkeypatch, **env) as client:
            conversation = await a_conversation_of(client, first_message="")
            model.fault("hang")
            body = {"conversation_id": conversation, "message": "soup", "background": True}
            run = (await client.post("/v1/runs", json=body)).json()
            await browser.look()
            told, offered = browser.shown("info", "warning"), browser.buttons
            await client.post(f"/v1/runs/{run['id']}/cancel", json={})
            await until(lambda: model.open == 0)
            await browser.press("Look again")

    assert told == ["This is being answered."]
    assert offered == ["Look again"]
    assert "There is no answer to this." in browser.shown("warning")[0]
    assert browser.buttons == []


CALL: Final = ToolCall(
    id="c1",
    name="plant",
    arguments=json.dumps({"what": "rose " * 400 + "\u202eand a nettle"}, ensure_ascii=False),
)


@asynccontextmanager
async def gardening(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *answers: ToolCall | str
) -> AsyncIterator[tuple[httpx2.AsyncClient, str]]:
    """Serve an agent that has a tool, and answers so; yield a conversation with it too."""
    async with FakeOpenAI() as model:
        model.script([*answers])
        env = {
            "OPENAI_API_KEY": "sk-test",
            "OPENAI_BASE_URL": model.base_url,
            "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("src", ".")),
            "TERTULIA_MODEL": "openai-chat:fake",
            "TERTULIA_TOOLS": "tests.cli.gardening",
        }
        async with serving(folder, monkeypatch, **env) as client:
            yield client, await a_conversation_of(client, first_message="", tools=["plant"])


@pytest.mark.parametrize(("button", "outcome"), [("Approve", "is planted"), ("Deny", "not allowed")])
async def test_use_of_a_tool_is_decided_by_a_button(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, button: str, outcome: str
) -> None:
    async with gardening(tmp_path, monkeypatch, CALL, "So it is.") as (client, conversation):
        await browser.look()
        await browser.write("Plant something.")
        told, whole, offered = browser.shown("info", "error"), browser.shown("code"), browser.buttons
        await browser.press(button)
        log = await log_of(client, conversation)

    assert told == ["This waits for somebody's decision."]
    assert whole == [CALL.arguments.replace("\u202e", "\\u202e")]
    assert offered == ["Approve", "Deny"]
    assert browser.talk == [("user", "Plant something."), ("assistant", "So it is.")]
    assert browser.buttons == []
    assert browser.shown("info", "warning", "error") == []
    [result] = [part for message in log for part in message["content"] if part["type"] == "tool_result"]
    assert outcome in result["text"]


async def test_what_stands_in_line_behind_a_decision_is_no_error(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gardening(tmp_path, monkeypatch, CALL, "So it is.", "Two.") as (_, _):
        await browser.look()
        await browser.write("1")
        await browser.write("2")
        told, offered = browser.shown("info", "error", "warning"), browser.buttons
        await browser.press("Deny")
        while browser.buttons:
            await browser.press("Look again")

    assert told == ["This waits for somebody's decision."]
    assert offered == ["Approve", "Deny"]
    assert browser.talk == [("user", "1"), ("assistant", "So it is."), ("user", "2"), ("assistant", "Two.")]


async def test_what_was_decided_elsewhere_is_not_decided_again(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gardening(tmp_path, monkeypatch, CALL, "So it is.") as (client, conversation):
        await browser.look()
        await browser.write("Plant something.")
        [waiting] = (await client.get("/v1/runs", params={"status": "waiting"})).json()["data"]
        await client.post(
            f"/v1/runs/{waiting['id']}/decide", json={"verdict": "deny", "path": waiting["wait"]["path"]}
        )
        await browser.press("Approve")
        while browser.buttons:
            await browser.press("Look again")
        log = await log_of(client, conversation)

    assert "not allowed" in str(log)
    assert browser.talk == [("user", "Plant something."), ("assistant", "So it is.")]


async def test_a_closed_conversation_says_so_and_is_opened_again(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as client:
        conversation = await a_conversation_of(client, first_message="")
        await client.post(f"/v1/conversations/{conversation}/close", json={"reason": "the kitchen is closed"})
        await browser.look()
        told, is_mute = browser.shown("info"), browser.page.chat_input[0].disabled
        await browser.press("Open it again")
        await browser.write("soup")

    assert told == ["This conversation is closed: the kitchen is closed"]
    assert is_mute
    assert browser.talk == [("user", "soup"), ("assistant", "soup")]


async def test_an_agent_that_takes_leave_is_heard(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as client:
        settings = {"max_turns": 1, "farewell": "Enjoy your meal!"}
        await a_conversation_of(client, first_message="", settings=settings)
        await browser.look()
        await browser.write("soup")

    assert browser.talk == [("user", "soup"), ("assistant", "soup")]
    assert browser.shown("info") == ["Enjoy your meal!"]
    assert browser.buttons == ["Open it again"]
