"""What every store does with documents."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tertulia.conversations import DEFAULT_TENANT
from tertulia.errors import InvalidInput, NotFound
from tertulia.ids import DOCUMENT, new_id
from tertulia.stores.base import Store
from tertulia.stores.documents import Collection, Document, Extent, NewPassage, Passage, Posting

TENANT = DEFAULT_TENANT
THEIRS = 7

PASSAGES = (
    NewPassage(text="Leave is 25 days.", where="Leave", terms={"leave": 2, "25": 1, "day": 1}),
    NewPassage(text="Lunch is at noon.", terms={"lunch": 1, "noon": 1}),
)


def a_document(
    name: str = "handbook.md", *, collection: str = "handbook", version: int = 1, tenant: int = TENANT
) -> Document:
    """Return a document as it is before it is kept."""
    return Document(
        tenant=tenant,
        id=new_id(DOCUMENT),
        collection=collection,
        name=name,
        media_type="text/markdown",
        digest=bytes([version]) * 32,
        characters=34,
        passages=0,
    )


async def a_kept_document(
    store: Store,
    name: str = "handbook.md",
    *,
    collection: str = "handbook",
    version: int = 1,
    tenant: int = TENANT,
    passages: Sequence[NewPassage] = PASSAGES,
) -> Document:
    """Keep a document and return it."""
    document = a_document(name, collection=collection, version=version, tenant=tenant)
    return await store.documents.put(document, passages)


async def _nothing_left(store: Store, document: Document, *, tenant: int = TENANT) -> bool:
    """Whether there is nothing of a document to be found."""
    places = [(document.id, place) for place in range(len(PASSAGES))]
    found = await store.documents.postings(tenant, document.collection, ["leave", "lunch"])
    named = {posting.document_id for postings in found.values() for posting in postings}
    return document.id not in named and not await store.documents.passages(tenant, places)


@pytest.mark.asyncio
class DocumentContract:
    """Documents, and what can be found in them."""

    async def test_kept_document_is_returned_as_it_is_kept(self, store: Store) -> None:
        given = a_document()

        kept = await store.documents.put(given, PASSAGES)

        assert kept == replace(given, passages=2, created_at=kept.created_at)
        assert kept.created_at > 0
        assert await store.documents.get(TENANT, given.id) == kept
        assert await store.documents.page(TENANT, "handbook") == [kept]
        assert await store.documents.page(TENANT) == [kept]

    async def test_terms_of_a_document_lead_to_its_passages(self, store: Store) -> None:
        kept = await a_kept_document(store)

        found = await store.documents.postings(TENANT, "handbook", ["leave", "noon", "cat"])
        passages = await store.documents.passages(TENANT, [(kept.id, 1), (kept.id, 0)])

        assert found == {
            "leave": [Posting(document_id=kept.id, place=0, times=2, length=4)],
            "noon": [Posting(document_id=kept.id, place=1, times=1, length=2)],
        }
        assert passages == [
            Passage(document_id=kept.id, document="handbook.md", place=1, text="Lunch is at noon."),
            Passage(
                document_id=kept.id, document="handbook.md", place=0, text="Leave is 25 days.", where="Leave"
            ),
        ]
        assert await store.documents.extent(TENANT, "handbook") == Extent(passages=2, length=6)

    async def test_postings_are_in_order_and_limited_for_each_term(self, store: Store) -> None:
        both = [
            NewPassage(text=f"{place}", terms={"a": place + 1, f"only {place}": 1}) for place in range(70)
        ]
        first = await a_kept_document(store, "first", passages=both)
        second = await a_kept_document(store, "second", passages=both)

        found = await store.documents.postings(TENANT, "handbook", ["a", "only 69"], limit=71)

        places = [(posting.document_id, posting.place) for posting in found["a"]]
        assert places == [*((first.id, place) for place in range(70)), (second.id, 0)]
        assert [posting.times for posting in found["a"][:3]] == [1, 2, 3]
        assert len(found["only 69"]) == 2

    async def test_all_of_a_document_is_kept_as_it_is(self, store: Store) -> None:
        text = "Grüße 👩‍🍳, 東京\t'; DROP TABLE documents; --\n"
        passages = (NewPassage(text=text, where="§ 1 > «Ä»", terms={"東京": 1, "grüße": 1, "'": 1}),)

        kept = await a_kept_document(store, "Grüße (1).md", passages=passages)

        [found] = await store.documents.passages(TENANT, [(kept.id, 0)])
        assert (found.document, found.where, found.text) == ("Grüße (1).md", "§ 1 > «Ä»", text)
        assert set(await store.documents.postings(TENANT, "handbook", ["東京", "'"])) == {"東京", "'"}

    async def test_document_without_passages_is_kept(self, store: Store) -> None:
        kept = await a_kept_document(store, passages=())

        assert await store.documents.get(TENANT, kept.id) == kept
        assert await store.documents.extent(TENANT, "handbook") == Extent(passages=0, length=0)

    async def test_same_document_again_changes_nothing(self, store: Store) -> None:
        first = await a_kept_document(store)

        again = await a_kept_document(store, passages=PASSAGES[:1])

        assert again == first
        assert await store.documents.page(TENANT) == [first]
        assert await store.documents.extent(TENANT, "handbook") == Extent(passages=2, length=6)

    async def test_document_takes_the_place_of_the_one_with_its_name(self, store: Store) -> None:
        first, other = await a_kept_document(store), await a_kept_document(store, "other.md")

        second = await a_kept_document(store, version=2, passages=PASSAGES[1:])

        assert second.id != first.id
        assert await store.documents.page(TENANT) == [other, second]
        with pytest.raises(NotFound):
            await store.documents.get(TENANT, first.id)
        assert await _nothing_left(store, first)
        assert await store.documents.extent(TENANT, "handbook") == Extent(passages=3, length=8)

    async def test_documents_of_one_name_in_two_collections_are_two(self, store: Store) -> None:
        one = await a_kept_document(store, collection="handbook")
        two = await a_kept_document(store, collection="recipes", passages=PASSAGES[1:])

        assert await store.documents.page(TENANT, "recipes") == [two]
        assert await store.documents.page(TENANT) == [one, two]
        assert await store.documents.extent(TENANT, "recipes") == Extent(passages=1, length=2)
        assert await store.documents.postings(TENANT, "recipes", ["leave"]) == {}

    async def test_of_many_who_put_one_name_at_once_one_document_stays(self, store: Store) -> None:
        await a_kept_document(store, version=100)

        made = await asyncio.gather(*[a_kept_document(store, version=version) for version in range(8)])

        [left] = await store.documents.page(TENANT)
        assert left in made
        assert await store.documents.extent(TENANT, "handbook") == Extent(passages=2, length=6)
        found = await store.documents.postings(TENANT, "handbook", ["leave"])
        assert [posting.document_id for posting in found["leave"]] == [left.id]

    async def test_of_many_who_put_one_document_at_once_one_is_kept(self, store: Store) -> None:
        made = await asyncio.gather(*[a_kept_document(store) for _ in range(8)])

        assert await store.documents.page(TENANT) == [made[0]]
        assert {document.id for document in made} == {made[0].id}

    async def test_deletion_leaves_nothing_of_a_document(self, store: Store) -> None:
        gone, kept = await a_kept_document(store), await a_kept_document(store, "other.md")

        await store.documents.delete(TENANT, gone.id)

        assert await store.documents.page(TENANT) == [kept]
        assert await _nothing_left(store, gone)
        assert await store.documents.extent(TENANT, "handbook") == Extent(passages=2, length=6)
        for ask in (store.documents.get, store.documents.delete):
            with pytest.raises(NotFound):
                await ask(TENANT, gone.id)

    async def test_collection_is_there_as_long_as_a_document_is_in_it(self, store: Store) -> None:
        only = await a_kept_document(store, collection="recipes")
        await a_kept_document(store)
        await a_kept_document(store, "other.md")

        before = await store.documents.collections(TENANT)
        await store.documents.delete(TENANT, only.id)

        handbook = Collection(name="handbook", documents=2, passages=4, characters=68)
        assert before == [handbook, Collection(name="recipes", documents=1, passages=2, characters=34)]
        assert await store.documents.collections(TENANT) == [handbook]
        assert await store.documents.extent(TENANT, "recipes") == Extent(passages=0, length=0)

    async def test_documents_and_collections_are_listed_in_pages(self, store: Store) -> None:
        made = [await a_kept_document(store, name, collection=f"of-{name}") for name in "cadb"]

        assert await store.documents.page(TENANT, limit=2) == made[:2]
        assert await store.documents.page(TENANT, after=made[1].id, limit=1) == made[2:3]
        assert await store.documents.page(TENANT, after=made[3].id) == []
        names = [collection.name for collection in await store.documents.collections(TENANT, limit=3)]
        assert names == ["of-a", "of-b", "of-c"]
        [last] = await store.documents.collections(TENANT, after="of-c")
        assert last.name == "of-d"

    async def test_documents_of_others_are_not_there(self, store: Store) -> None:
        ours = await a_kept_document(store)
        theirs = await a_kept_document(store, tenant=THEIRS, version=2)

        for ask in (store.documents.get, store.documents.delete):
            with pytest.raises(NotFound):
                await ask(THEIRS, ours.id)
        assert await store.documents.page(THEIRS) == [theirs]
        assert await store.documents.page(TENANT) == [ours]
        assert await store.documents.extent(THEIRS, "handbook") == Extent(passages=2, length=6)
        assert await _nothing_left(store, ours, tenant=THEIRS)
        [collection] = await store.documents.collections(THEIRS)
        assert collection.documents == 1

    async def test_what_is_no_id_of_a_document_is_not_found(self, store: Store) -> None:
        kept = await a_kept_document(store)

        for ask in (store.documents.get, store.documents.delete):
            for ident in ("", "handbook.md", new_id(DOCUMENT)):
                with pytest.raises(NotFound):
                    await ask(TENANT, ident)
        places = [(kept.id, -1), (kept.id, 2), ("", 0), (new_id(DOCUMENT), 0)]
        assert await store.documents.passages(TENANT, places) == []

    async def test_half_a_character_is_refused_and_nothing_is_kept(self, store: Store) -> None:
        broken = NewPassage(text="\ud800", terms={"a": 1})

        with pytest.raises(InvalidInput):
            await a_kept_document(store, passages=[*PASSAGES, broken])

        assert await store.documents.page(TENANT) == []
        assert await store.documents.extent(TENANT, "handbook") == Extent(passages=0, length=0)
