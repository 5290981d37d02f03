"""Messages of a session are withdrawn, erased and said anew, named by number or by id."""

from pathlib import Path

import pytest

from tertulia.agent import Agent
from tertulia.errors import InvalidInput, NotFound, ProviderError
from tertulia.llms.scripted import ScriptedLLM
from tertulia.memory.history import FileHistoryProvider
from tertulia.messages import Flag
from tests.agent.company import Notebook, echo, shown, texts

UNKNOWN = "msg_01a1f9df4f5c778083a196f228b02f9e"

ways = pytest.mark.parametrize(("way", "flag"), [("withdraw", Flag.WITHDRAWN), ("erase", Flag.DELETED)])


@pytest.fixture(params=["memory", "store"])
def where(request: pytest.FixtureRequest, sqlite_url: str) -> str | None:
    """The store of an agent."""
    return None if request.param == "memory" else sqlite_url


def all_in(folder: Path) -> str:
    """Return everything that stands in the files of a folder."""
    return "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file())


@ways
async def test_messages_are_named_by_number_or_by_id(way: str, flag: Flag, where: str | None) -> None:
    llm = ScriptedLLM(echo)
    async with Agent(llm, name="Host", store=where) as agent:
        session = agent.create_session()
        for text in ("one", "two"):
            await agent.run(text, session=session)
        second = (await session.messages())[1]

        await getattr(session, way)(1, second.id)
        await agent.run("three", session=session)

        assert [bool(message.flags & flag) for message in await session.messages()] == [True] * 2 + [
            False
        ] * 4
        assert shown(llm.prompts[-1]) == ["two", "two", "three"]


@ways
@pytest.mark.parametrize("unknown", [99, 0, -1, UNKNOWN, "1", "mine"])
async def test_message_that_is_not_in_the_session_is_not_found_and_no_other_is_marked(
    unknown: int | str, way: str, flag: Flag, where: str | None
) -> None:
    async with Agent(ScriptedLLM(echo), name="Host", store=where) as agent:
        other, session = agent.create_session(), agent.create_session()
        await agent.run("elsewhere", session=other)
        await agent.run("one", session=session)
        elsewhere = (await other.messages())[0].id

        for which in (unknown, elsewhere):
            with pytest.raises(NotFound, match="no message"):
                await getattr(session, way)(1, which)

        assert {message.flags for message in await session.messages()} == {Flag.NONE}
        assert {message.flags for message in await other.messages()} == {Flag.NONE}


@ways
async def test_nothing_named_and_nothing_said_are_refused(way: str, flag: Flag, where: str | None) -> None:
    async with Agent(ScriptedLLM(echo), name="Host", store=where) as agent:
        session = agent.create_session()
        for which in ((), (None,), ([1],), (1.0,)):
            with pytest.raises(InvalidInput, match="name messages"):
                await getattr(session, way)(*which)
        with pytest.raises(NotFound):
            await getattr(session, way)(1)

        assert not any(message.flags & flag for message in await session.messages())


@ways
async def test_message_of_an_earlier_process_is_named_by_its_id_where_the_history_is_elsewhere(
    way: str, flag: Flag, tmp_path: Path
) -> None:
    llm = ScriptedLLM(echo)

    def an_agent() -> Agent:
        return Agent(llm, name="Host", history=FileHistoryProvider(tmp_path))

    async with an_agent() as agent:
        session = agent.create_session("mine")
        for text in ("a secret", "one"):
            await agent.run(text, session=session)
        said = await session.messages()

    async with an_agent() as later:
        again = later.create_session("mine")
        with pytest.raises(NotFound):
            await getattr(again, way)(said[0].id, UNKNOWN)
        before = await texts(again)
        await getattr(again, way)(said[0].id, said[1].id)
        await later.run("two", session=again)

        assert before == ["a secret", "a secret", "one", "one"]
        assert shown(llm.prompts[-1]) == ["one", "one", "two"]
    assert "secret" not in all_in(tmp_path)


async def test_number_means_a_message_of_the_log_and_never_one_of_an_earlier_process(tmp_path: Path) -> None:
    def an_agent() -> Agent:
        return Agent(ScriptedLLM(echo), name="Host", history=FileHistoryProvider(tmp_path))

    async with an_agent() as agent:
        await agent.run("earlier", session=agent.create_session("mine"))

    async with an_agent() as later:
        session = later.create_session("mine")
        at_first = [message.number for message in await session.messages()]
        with pytest.raises(NotFound):
            await session.erase(1)
        await later.run("now", session=session)
        told = [(message.number, message.text) for message in await session.messages()]
        await session.erase(1)

        assert at_first == [0, 0]
        assert told == [(0, "earlier"), (0, "earlier"), (1, "now"), (2, "now")]
        assert await texts(session) == ["earlier", "earlier", "", "now"]


@ways
async def test_history_that_cannot_forget_is_told_of_after_the_log_is_marked(way: str, flag: Flag) -> None:
    notebook = Notebook()
    async with Agent(ScriptedLLM(echo), name="Host", history=notebook) as agent:
        session = agent.create_session()
        await agent.run("one", session=session)
        with pytest.raises(ProviderError, match="Notebook"):
            await getattr(session, way)((await session.messages())[0].id)

        assert (await session.messages())[0].flags & flag


@pytest.mark.parametrize("number", [2, 3, 0, 99])
async def test_only_what_a_user_has_said_is_said_anew(number: int, where: str | None) -> None:
    llm = ScriptedLLM(echo)
    async with Agent(llm, name="Host", store=where) as agent:
        session = agent.create_session()
        await agent.run("one", session=session)
        with pytest.raises(InvalidInput, match="only what a user has said"):
            await session.edit(number, "other")

        assert await texts(session) == ["one", "one"]
        assert len(llm.prompts) == 1
        assert await texts((await session.edit(1, "other"))[0]) == ["other", "other"]
