"""What is taken back over HTTP is forgotten by the history providers of an agent in Python, too."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typing_extensions import override

from tertulia import Agent
from tertulia.app import App
from tertulia.llms.scripted import ScriptedLLM
from tertulia.memory.history.recording import Recording
from tertulia.memory.sessions import ProviderSession
from tertulia.settings import Settings
from tests.agent.company import Notebook
from tests.server.conftest import serving
from tests.server.doing import log_of, said, say


class Eraser(Notebook):
    """A notebook of which single messages are erased, unless the rubber is lost."""

    is_lost = False

    async def forget(self, session: ProviderSession, ids: Collection[str]) -> None:
        if self.is_lost:
            raise OSError("where is the rubber?")
        page = self.kept[session.id]
        page[:] = [message for message in page if message.id not in ids]


class Helpless(Eraser):
    """One whose rubber is lost."""

    is_lost = True

    @property
    @override
    def name(self) -> str:
        return "Lost"


class Clean(Eraser):
    """One that has another name."""

    @property
    @override
    def name(self) -> str:
        return "Clean"


def an_app(*histories: Notebook, **chosen: Any) -> App:
    """Return an app that serves an agent with these histories beside the log."""
    usual: dict[str, Any] = {"database_url": "memory://", "model": "scripted:echo", "shutdown_seconds": 0}
    recording = [Recording(each) for each in histories]
    agents = [Agent(ScriptedLLM(lambda prompt: "Soup."), name="chef", history=recording)] if histories else []
    return App(Settings(**usual | chosen), agents=agents)


async def a_talk(client: httpx2.AsyncClient, *texts: str) -> str:
    """Say something to the agent; return the conversation's id."""
    made = await client.post("/agents/create-conversation", json={"agent_id": "chef", "id": "dinner"})
    conversation = str(made.json()["id"])
    for text in texts:
        await say(client, conversation, text)
    return conversation


async def test_what_is_erased_or_withdrawn_is_forgotten_wherever_it_is_kept() -> None:
    notebook, clean = Eraser(), Clean()

    async with serving(an_app(notebook, clean)) as client:
        talk = await a_talk(client, "one", "two", "three")
        erased = await client.delete(f"/v1/conversations/{talk}/messages/1")
        withdrawn = await client.post(f"/v1/conversations/{talk}/withdraw", json={"numbers": [6, 3]})

    assert (erased.status_code, withdrawn.status_code) == (200, 200)
    assert notebook.texts() == clean.texts() == ["Soup.", "Soup.", "three"]


@pytest.mark.parametrize(
    ("keeper", "told"),
    [
        (Notebook(), "Notebook"),
        (Helpless(), "Lost"),
    ],
)
async def test_who_cannot_forget_is_told_when_the_log_is_marked(keeper: Notebook, told: str) -> None:
    clean = Clean()

    async with serving(an_app(keeper, clean)) as client:
        talk = await a_talk(client, "one", "two")
        erased = await client.delete(f"/v1/conversations/{talk}/messages/1")
        withdrawn = await client.post(f"/v1/conversations/{talk}/withdraw", json={"numbers": [2]})
        log = await log_of(client, talk)

    for response in (erased, withdrawn):
        assert (response.status_code, response.json()["code"]) == (502, "provider_error")
        assert response.json()["detail"].startswith(f"done in the log, but not everywhere: {told}")
    assert said(log)[0] == ""
    assert [(each["deleted"], each["withdrawn"]) for each in log[:2]] == [(True, False), (False, True)]
    assert clean.texts() == ["two", "Soup."]


async def test_what_is_not_known_here_is_told_as_well(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    notebook = Eraser()
    async with serving(an_app(notebook, database_url=url)) as client:
        talk = await a_talk(client, "one")

    async with serving(an_app(database_url=url)) as client:
        there = await client.delete(f"/v1/conversations/{talk}/messages/1")
        log = await log_of(client, talk)
    async with serving(an_app(notebook, database_url=url)) as client:
        kept = notebook.texts()
        here = await client.delete(f"/v1/conversations/{talk}/messages/1")

    assert (there.status_code, there.json()["code"]) == (503, "not_served_here")
    assert "done in the log, and perhaps not everywhere: " in there.json()["detail"]
    assert said(log) == ["", "Soup."]
    assert kept == ["one", "Soup."]
    assert here.status_code == 200
    assert notebook.texts() == ["Soup."]


async def test_very_many_messages_can_be_taken_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tertulia.agent.stored._PAGE", 2)
    notebook = Eraser()

    async with serving(an_app(notebook)) as client:
        talk = await a_talk(client, "one", "two", "three")
        withdrawn = await client.post(f"/v1/conversations/{talk}/withdraw", json={"numbers": [5, 2, 1, 4]})

    assert withdrawn.status_code == 200
    assert notebook.texts() == ["two", "Soup."]
