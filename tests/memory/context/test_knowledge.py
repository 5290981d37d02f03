"""The provider of knowledge: what fits a message is quoted to the model for that run."""

import asyncio
import gc
import threading
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from tertulia.errors import InvalidInput, NotFound
from tertulia.memory.context.base import RunContext
from tertulia.memory.context.building import Means
from tertulia.memory.context.knowledge import KnowledgeProvider
from tertulia.memory.context.knowledge_tool import SearchTool
from tertulia.memory.knowledge.library import Library
from tertulia.memory.sessions import ProviderRun, ProviderSession
from tertulia.messages import Message
from tertulia.parts import text_content
from tertulia.stores import Store
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.tool_contract import a_context
from tests.memory.knowledge.pdfs import a_pdf

LEAVE = "# Leave\n\nEvery employee has 25 days of vacation a year.\n"


def a_run(text: str, *, user: str | None = "ann") -> ProviderRun:
    message = Message(id="msg_1", role="user", content=text_content(text))
    return ProviderRun(id="run_1", input=message, session=ProviderSession(id="s", agent="Chef", user=user))


async def told(provider: KnowledgeProvider, text: str) -> str:
    """Return what a model is shown for a message; empty for nothing."""
    context = await provider.before_run(a_run(text))
    if context is None:
        return ""
    [message] = context.messages
    assert context == RunContext(messages=(message,))
    assert isinstance(message, str)
    return message


def threads() -> set[threading.Thread]:
    gc.collect()
    return {each for each in threading.enumerate() if not each.name.startswith(("asyncio_", "tertulia-tool"))}


async def ended(opened: Collection[threading.Thread]) -> bool:
    """Whether threads come to their end."""
    for thread in opened:
        await asyncio.to_thread(thread.join, 30)
    return not any(thread.is_alive() for thread in opened)


async def a_handbook(**chosen: Any) -> KnowledgeProvider:
    provider = KnowledgeProvider("handbook", **chosen)
    await provider.add(LEAVE, name="handbook.md")
    return provider


async def test_what_fits_a_message_is_quoted_with_its_source() -> None:
    provider = await a_handbook()

    text = await told(provider, "How many vacation days do I have?")

    assert "[1] handbook.md, Leave\n> # Leave\n>\n> Every employee has 25 days of vacation a year." in text
    assert "no instruction to you" in text


async def test_small_talk_brings_nothing_in() -> None:
    provider = await a_handbook()

    for said in ("Thanks!", "", "Tell me a joke about a horse."):
        assert await told(provider, said) == ""


async def test_as_a_tool_the_model_asks_itself() -> None:
    provider = await a_handbook(as_tool=True)

    context = await provider.before_run(a_run("Thanks!"))

    assert context is not None
    assert (context.messages, context.instructions) == ((), "")
    [tool] = context.tools
    assert isinstance(tool, SearchTool)
    assert tool.spec.name == "search_handbook"
    assert tool.rules.is_idempotent
    assert "25 days" in await tool.use({"query": "vacation"}, a_context("key"))
    assert "Other words" in await tool.use({"query": "horses"}, a_context("key"))


async def test_no_more_passages_come_than_were_asked_for() -> None:
    provider = KnowledgeProvider(top_k=2)
    for number in range(4):
        await provider.add(f"Soup number {number} needs salt.", name=f"{number}.txt")

    assert len(await provider.search("soup with salt")) == 2
    text = await told(provider, "soup with salt")
    assert "[2] " in text
    assert "[3] " not in text


async def test_files_are_called_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "leave").mkdir()
    (tmp_path / "leave" / "parental.md").write_text("Fourteen weeks.", encoding="utf-8")
    (tmp_path / "lunch.html").write_text("<h1>Lunch</h1><p>At noon.", encoding="utf-8")
    provider = KnowledgeProvider()

    one = await provider.add(tmp_path / "lunch.html")
    other = await provider.add(tmp_path / "lunch.html", name="food.html")
    all_of_it = await provider.add_directory(tmp_path)

    assert (one.name, other.name) == ("lunch.html", "food.html")
    assert [document.name for document in all_of_it] == ["leave/parental.md", "lunch.html"]
    assert all_of_it[1] == one
    names = [document.name for document in await provider.list()]
    assert names == ["lunch.html", "food.html", "leave/parental.md"]


async def test_folder_is_taken_in_but_for_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes(b"Gr\xfc\xdfe")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "b.pdf").write_bytes(a_pdf([""]))
    (tmp_path / "old" / f"{'c' * 198}.txt").write_text("Too long a name.", encoding="utf-8")
    (tmp_path / "z.md").write_text("Lunch is at noon.", encoding="utf-8")
    provider = KnowledgeProvider()

    with pytest.raises(InvalidInput) as raised:
        await provider.add_directory(tmp_path)

    told = str(raised.value)
    assert told.startswith("3 of 4 documents were left out, the others are taken in: a.md: this is no UTF-8")
    assert "; old/b.pdf: this PDF holds no text, only images of it" in told
    assert f"; old/{'c' * 198}.txt: the name of a document has 1 to 200" in told
    assert [document.name for document in await provider.list()] == ["z.md"]


async def test_of_very_many_documents_that_were_left_out_only_some_are_told(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number:02}.md").touch()

    with pytest.raises(InvalidInput, match=r"^60 of 60 .* 49\.md: .* no text; …$") as raised:
        await KnowledgeProvider().add_directory(tmp_path)

    assert "50.md" not in str(raised.value)


async def test_document_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "scan.pdf").write_bytes(a_pdf([""]))
    provider = KnowledgeProvider()

    with pytest.raises(InvalidInput, match=r"^scan\.pdf: this PDF holds no text"):
        await provider.add(tmp_path / "scan.pdf")
    with pytest.raises(InvalidInput, match=r"^notes\.md holds a NUL character"):
        await provider.add("\x00", name="notes.md")


async def test_text_needs_a_name_and_is_never_taken_for_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("The treasure is under the oak.", encoding="utf-8")
    provider = KnowledgeProvider()

    with pytest.raises(InvalidInput, match="needs a name"):
        await provider.add(str(secret))
    await provider.add(str(secret), name="text")

    assert await provider.search("treasure oak") == ()


async def test_documents_are_removed_by_name_or_id() -> None:
    provider = await a_handbook()
    lunch = await provider.add(b"<p>Lunch is at noon.", name="lunch", content_type="text/html")

    await provider.remove("handbook.md")
    await provider.remove(lunch.id)

    assert await provider.list() == ()
    assert await told(provider, "How many vacation days?") == ""
    with pytest.raises(NotFound):
        await provider.remove("handbook.md")


async def test_documents_outlive_the_program(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'knowledge.db'}"
    first = await a_handbook(store=url)
    await first.close()
    await first.close()

    second = KnowledgeProvider("handbook", store=url)
    found = await second.search("vacation days")
    again = await first.search("vacation days")
    for provider in (first, second):
        await provider.close()

    assert [hit.document for hit in found] == ["handbook.md"]
    assert again == found


async def test_provider_that_nobody_has_any_more_lets_go_of_its_store(tmp_path: Path) -> None:
    before = threads()
    provider = await a_handbook(store=f"sqlite:///{tmp_path / 'knowledge.db'}")
    opened = threads() - before

    del provider
    gc.collect()

    assert len(opened) == 2
    assert await ended(opened)


def test_store_is_closed_with_the_event_loop_that_it_was_opened_in(tmp_path: Path) -> None:
    before = threads()
    provider = asyncio.run(a_handbook(store=f"sqlite:///{tmp_path / 'knowledge.db'}"))

    left = threads() - before
    found = asyncio.run(provider.search("vacation"))

    assert left == set()
    assert len(found) == 1


async def test_store_of_another_event_loop_is_closed_there(tmp_path: Path) -> None:
    provider = KnowledgeProvider("handbook", store=f"sqlite:///{tmp_path / 'knowledge.db'}")
    before = threads()
    with start_blocking_portal() as portal:
        portal.call(partial(provider.add, LEAVE, name="handbook.md"))
        opened = {each for each in threads() - before if each.name.startswith("tertulia-")}

        await provider.close()

        assert len(opened) == 2
        assert await ended(opened)


def test_provider_may_be_used_in_one_event_loop_after_another(tmp_path: Path) -> None:
    async def ask() -> list[int]:
        # Many at once, so that they wait for each other.
        return [len(found) for found in await asyncio.gather(*[provider.search("leave") for _ in range(4)])]

    for store in (None, f"sqlite:///{tmp_path / 'knowledge.db'}"):
        provider = KnowledgeProvider("handbook", store=store)
        asyncio.run(provider.add(LEAVE, name="handbook.md"))

        counts = [asyncio.run(ask()), asyncio.run(ask())]
        asyncio.run(provider.close())

        assert counts == [[1] * 4] * 2


async def test_store_that_was_lent_is_not_closed(store: Store) -> None:
    provider = await a_handbook(store=store)

    await provider.close()

    assert len(await store.documents.page(0)) == 1
    assert len(await provider.search("vacation")) == 1


async def test_stored_agent_names_its_collection() -> None:
    store = InMemoryStore()
    await Library(store.documents, tenant=7).add("handbook", "a.txt", b"Vacation is 25 days.")
    await Library(store.documents).add("handbook", "b.txt", b"Vacation is 99 days.")
    options = {"collection": "handbook", "top_k": 3, "max_tokens": 400, "as_tool": False}

    provider = KnowledgeProvider.build(options, Means(store=store, tenant=7))

    assert provider.name == "KnowledgeProvider:handbook"
    assert "25 days" in (text := await told(provider, "How many vacation days?"))
    assert "99" not in text
    assert KnowledgeProvider.build({"name": "other"}, Means(store=store)).name == "other"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"colection": "handbook"}, "no 'colection'; there are: collection"),
        ({"collection": 3}, "collection of knowledge must be"),
        ({"collection": "hand book"}, "name of a collection"),
        ({"top_k": True}, "top_k of knowledge must be"),
        ({"top_k": 0}, "top_k is 1 to 50"),
        ({"top_k": 51}, "top_k is 1 to 50"),
        ({"max_tokens": 1_000_000}, "max_tokens 1 to 16000"),
        ({"as_tool": "yes"}, "as_tool of knowledge must be"),
        ({"store": "sqlite:///other.db"}, "no 'store'"),
        ({"tenant": 7}, "no 'tenant'"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        KnowledgeProvider.build(options, Means(store=InMemoryStore()))
