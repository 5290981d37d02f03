"""With whom one talks: an agent that can answer here, or it is said what to type."""

from collections.abc import AsyncIterator

import pytest

from tertulia.app import App
from tertulia.cli.talk import COMPANION, Talk
from tertulia.conversations import DEFAULT_TENANT, NewConversation
from tertulia.definitions import AgentDefinition
from tertulia.errors import NotServedHere
from tertulia.ids import AGENT, CONVERSATION, new_id
from tertulia.settings import Settings


@pytest.fixture
async def app() -> AsyncIterator[App]:
    app = App(Settings(database_url="memory://", model="scripted:echo", shutdown_seconds=0))
    await app.start()
    yield app
    await app.stop()


async def an_agent(app: App, name: str, *, program: str = "") -> str:
    definition = AgentDefinition(name=name, program=program)
    return (await app.store.agents.create(DEFAULT_TENANT, new_id(AGENT), definition)).id


async def test_an_agent_of_a_program_has_to_be_named_with_its_module(app: App) -> None:
    await an_agent(app, "head chef", program="program:head chef")

    with pytest.raises(NotServedHere, match=r"tertulia chat 'head chef' --agents MODULE:NAME$"):
        await Talk.resume(app, "head chef")


async def test_whoever_can_answer_is_talked_to_first(app: App) -> None:
    await an_agent(app, "chef", program="program:chef")
    await an_agent(app, "parrot")

    talk = await Talk.resume(app, None)

    assert talk.agent.definition.name == "parrot"


async def test_who_was_talked_to_last_and_cannot_answer_is_told(app: App) -> None:
    chef = await an_agent(app, "chef", program="program:chef")
    await an_agent(app, "parrot")
    new = NewConversation(id=new_id(CONVERSATION), agent_id=chef)
    await app.store.conversations.create(DEFAULT_TENANT, new)

    with pytest.raises(NotServedHere, match="chat chef --agents MODULE:NAME"):
        await Talk.resume(app, None)


async def test_somebody_is_there_where_nobody_was_made(app: App) -> None:
    talk = await Talk.resume(app, None)

    assert talk.agent.definition == COMPANION
