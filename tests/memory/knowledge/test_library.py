"""Documents are taken in and found again, in every store."""

import asyncio
import threading
from functools import partial
from pathlib import Path

import pytest

from tertulia.errors import InvalidInput, NotFound, StoreBusy
from tertulia.memory.knowledge import library as room
from tertulia.memory.knowledge.files import content_of, documents_under
from tertulia.memory.knowledge.library import Library
from tertulia.memory.knowledge.limits import ReadingLimits
from tertulia.stores import Store
from tertulia.stores.in_memory import InMemoryStore
from tertulia.tools.threads import Threads
from tests.memory.knowledge.pdfs import a_pdf

HANDBOOK = b"""# Handbook

## Leave

Every employee has 25 days of vacation a year.

## Lunch

Lunch is served in the kitchen at noon.
"""


@pytest.fixture
def library(store: Store) -> Library:
    return Library(store.documents)


async def test_document_is_found_by_its_words_and_headings(library: Library) -> None:
    kept = await library.add("handbook", "handbook.md", HANDBOOK)

    by_words = await library.search("handbook", "How many vacation days do I have?", limit=5)
    by_heading = await library.search("handbook", "What are the rules of leave?", limit=5)

    assert (kept.name, kept.media_type, kept.passages) == ("handbook.md", "text/markdown", 2)
    assert kept.characters == len(HANDBOOK)
    [hit] = by_words
    assert (hit.document_id, hit.document, hit.place) == (kept.id, "handbook.md", 0)
    assert hit.where == "Handbook > Leave"
    assert "25 days of vacation" in hit.text
    assert [each.place for each in by_heading] == [0]


async def test_document_is_found_by_its_name(library: Library) -> None:
    await library.add("all", "travel/expenses.txt", b"Keep every receipt.")
    await library.add("all", "kitchen.txt", b"Keep it clean.")

    [hit] = await library.search("all", "expenses", limit=5)

    assert hit.document == "travel/expenses.txt"


async def test_texts_without_spaces_are_found(library: Library) -> None:
    await library.add("all", "tower.txt", "東京タワーは高さ333メートルです。".encode())
    await library.add("all", "refund.txt", "退款政策:七天内可退。".encode())

    tower = await library.search("all", "東京タワーの高さは?", limit=5)
    refund = await library.search("all", "请问退款政策是什么?", limit=5)

    assert [hit.document for hit in tower] == ["tower.txt"]
    assert [hit.document for hit in refund] == ["refund.txt"]


async def test_nothing_is_found_of_what_was_removed_or_replaced(library: Library) -> None:
    first = await library.add("handbook", "handbook.md", HANDBOOK)
    other = await library.add("handbook", "dogs.txt", b"Dogs may come on Fridays.")

    second = await library.add("handbook", "handbook.md", b"Every employee has 30 days of vacation a year.")
    await library.remove(other.id)

    assert second.id != first.id
    assert [each.name async for each in library.documents("handbook")] == ["handbook.md"]
    assert await library.search("handbook", "lunch in the kitchen", limit=5) == []
    assert await library.search("handbook", "dogs on Fridays", limit=5) == []
    [hit] = await library.search("handbook", "vacation days", limit=5)
    assert "30 days" in hit.text
    with pytest.raises(NotFound):
        await library.remove(other.id)


async def test_same_document_again_changes_nothing(library: Library) -> None:
    first = await library.add("handbook", "handbook.md", HANDBOOK)

    again = await library.add("handbook", "handbook.md", HANDBOOK)
    as_text = await library.add("handbook", "handbook.md", HANDBOOK, content_type="text/html")

    assert again == first
    assert as_text.id != first.id


async def test_collections_and_tenants_are_apart(store: Store) -> None:
    ours, theirs = Library(store.documents), Library(store.documents, tenant=7)
    await ours.add("handbook", "a.txt", b"Vacation is 25 days.")
    await ours.add("recipes", "b.txt", b"Soup needs salt.")
    await theirs.add("handbook", "a.txt", b"Vacation is 99 days.")

    assert await ours.search("recipes", "vacation", limit=5) == []
    assert [hit.text for hit in await ours.search("handbook", "vacation", limit=5)] == [
        "Vacation is 25 days."
    ]
    assert [hit.text for hit in await theirs.search("handbook", "vacation", limit=5)] == [
        "Vacation is 99 days."
    ]


async def test_all_documents_are_listed(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_BATCH", 2)
    for number in range(5):
        await library.add("all", f"{number}.txt", f"Number {number}".encode())

    assert [each.name async for each in library.documents("all")] == [f"{number}.txt" for number in range(5)]


async def test_long_document_is_found_in_any_of_its_places(library: Library) -> None:
    paragraphs = [f"Room {number} is cleaned on every second day of the week. " * 12 for number in range(200)]
    paragraphs[137] = "The password of the treasury is a secret of the treasurer."

    kept = await library.add("all", "long.txt", "\n\n".join(paragraphs).encode())

    hits = await library.search("all", "Who knows the password of the treasury?", limit=5)
    assert hits
    assert all("treasurer" in hit.text for hit in hits)
    assert kept.passages > 60


async def test_very_common_words_count_only_where_there_are_no_others(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_COMMON", 3)
    for number in range(6):
        await library.add("all", f"{number}.txt", f"Tax form {'refund ' * (number % 2)}{number}".encode())

    both = await library.search("all", "refund of the tax", limit=9)
    common = await library.search("all", "tax", limit=9)

    assert [hit.document for hit in both] == ["1.txt", "3.txt", "5.txt"]
    assert common


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 201, "a\x00", "\ud800"])
async def test_document_without_a_usable_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="name of a document"):
        await Library(InMemoryStore().documents).add("all", name, b"text")


@pytest.mark.parametrize("name", ["", "-a", "a b", "ä", "a/b", "x" * 51, "a\n"])
async def test_collection_without_a_usable_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="name of a collection"):
        await Library(InMemoryStore().documents).add(name, "a.txt", b"text")


@pytest.mark.parametrize("name", [".", "..", "/", "a.", "v1.2 notes", ".md"])
async def test_strange_names_are_names(name: str) -> None:
    kept = await Library(InMemoryStore().documents).add("all", name, b"text", content_type="text/plain")

    assert kept.name == name


async def test_only_so_many_documents_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = Threads("documents are read", most=1, waiting=0)
    monkeypatch.setattr(room, "_READERS", busy)
    has_begun, may_end = threading.Event(), threading.Event()

    def wait() -> None:
        has_begun.set()
        may_end.wait(30)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(busy.run(wait))
        await asyncio.to_thread(has_begun.wait, 30)
        try:
            with pytest.raises(StoreBusy, match="send it again"):
                await Library(InMemoryStore().documents).add("all", "a.txt", b"text")
        finally:
            may_end.set()


async def test_pages_of_a_pdf_are_found(library: Library) -> None:
    await library.add("all", "handbook.pdf", a_pdf(["Leave is 25 days.", "Lunch is at noon."]))

    [hit] = await library.search("all", "When is lunch?", limit=5)

    assert (hit.where, hit.text) == ("page 2", "Lunch is at noon.")


def test_documents_of_a_folder_have_the_names_that_they_have_there(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    folder = tmp_path / "folder"
    for place in (outside, folder / "leave", folder / ".git"):
        place.mkdir(parents=True)
    for path in (folder / "b.md", folder / "leave" / "a.TXT", folder / "c.png", outside / "secret.txt"):
        path.write_text("text", encoding="utf-8")
    for path in (folder / ".hidden.md", folder / ".git" / "a.md"):
        path.write_text("text", encoding="utf-8")
    (folder / "link.txt").symlink_to(outside / "secret.txt")

    assert [name for name, _ in documents_under(folder)] == ["b.md", "leave/a.TXT"]


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.txt"
    large.write_text("four", encoding="utf-8")

    with pytest.raises(InvalidInput, match=r"none\.txt cannot be read: no such file"):
        content_of(tmp_path / "none.txt")
    with pytest.raises(InvalidInput, match=r"large\.txt is too large"):
        content_of(large, limits=ReadingLimits(max_bytes=3))
    with pytest.raises(InvalidInput, match="is no folder"):
        next(documents_under(large))
    assert content_of(large, limits=ReadingLimits(max_bytes=4)) == b"four"


async def test_event_loop_goes_on_while_documents_are_read(library: Library) -> None:
    text = b"All work and no play makes a dull text.\n\n" * 5000
    turns = 0

    task = asyncio.ensure_future(library.add("all", "long.txt", text))
    while not task.done():
        turns += 1
        await asyncio.sleep(0)

    assert turns > 10
    assert partial(task.result)().passages > 100
