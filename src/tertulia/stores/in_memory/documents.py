"""Documents and the index of their terms, in memory."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from typing_extensions import override

from tertulia.errors import NotFound
from tertulia.messages import check_text
from tertulia.stores.documents import (
    Collection,
    Document,
    DocumentStore,
    Extent,
    NewPassage,
    Passage,
    Posting,
)
from tertulia.stores.in_memory.state import State


@dataclass(frozen=True, slots=True)
class _Filed:
    """A document with its passages and the index of their terms."""

    document: Document
    passages: tuple[NewPassage, ...]
    postings: Mapping[str, list[Posting]]
    length: int

    def passage(self, place: int) -> Passage:
        """Return one of its passages."""
        found = self.passages[place]
        return Passage(
            document_id=self.document.id,
            document=self.document.name,
            place=place,
            text=found.text,
            where=found.where,
        )


@dataclass(slots=True)
class _Shelf:
    """All documents of one tenant, by id."""

    filed: dict[str, _Filed] = field(default_factory=dict)

    def of(self, collection: str | None) -> list[_Filed]:
        """Return the documents of a collection, or of all, in order of creation."""
        found = (each for each in self.filed.values() if collection in (None, each.document.collection))
        return sorted(found, key=lambda each: each.document.id)

    def named_like(self, document: Document) -> Document | None:
        """Return the document that has this one's name in its collection."""
        found = (each.document for each in self.of(document.collection))
        return next((each for each in found if each.name == document.name), None)

    def known(self, document_id: str) -> Document:
        """Return a document; raises ``NotFound``."""
        if document_id not in self.filed:
            raise NotFound("there is no such document")
        return self.filed[document_id].document


class InMemoryDocuments(DocumentStore):
    """Documents for as long as the process lives."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._shelves: defaultdict[int, _Shelf] = defaultdict(_Shelf)

    @override
    async def put(self, document: Document, passages: Sequence[NewPassage]) -> Document:
        filed = _filed(replace(document, passages=len(passages), created_at=self._state.now()), passages)
        with self._state.lock:
            shelf = self._shelves[document.tenant]
            earlier = shelf.named_like(document)
            if earlier is not None and earlier.digest == document.digest:
                return earlier
            if earlier is not None:
                del shelf.filed[earlier.id]
            shelf.filed[document.id] = filed
            return filed.document

    @override
    async def get(self, tenant: int, document_id: str) -> Document:
        with self._state.lock:
            return self._shelves[tenant].known(document_id)

    @override
    async def page(
        self, tenant: int, collection: str | None = None, *, after: str | None = None, limit: int = 100
    ) -> list[Document]:
        with self._state.lock:
            found = [each.document for each in self._shelves[tenant].of(collection)]
            return [document for document in found if after is None or document.id > after][:limit]

    @override
    async def collections(
        self, tenant: int, *, after: str | None = None, limit: int = 100
    ) -> list[Collection]:
        with self._state.lock:
            shelf = self._shelves[tenant]
            names = sorted({each.document.collection for each in shelf.filed.values()})
            chosen = [name for name in names if after is None or name > after][:limit]
            return [_collection(name, [each.document for each in shelf.of(name)]) for name in chosen]

    @override
    async def delete(self, tenant: int, document_id: str) -> None:
        with self._state.lock:
            shelf = self._shelves[tenant]
            del shelf.filed[shelf.known(document_id).id]

    @override
    async def extent(self, tenant: int, collection: str) -> Extent:
        with self._state.lock:
            found = self._shelves[tenant].of(collection)
            return Extent(
                passages=sum(len(each.passages) for each in found), length=sum(each.length for each in found)
            )

    @override
    async def postings(
        self, tenant: int, collection: str, terms: Sequence[str], *, limit: int = 100_000
    ) -> dict[str, list[Posting]]:
        with self._state.lock:
            shelf = self._shelves[tenant].of(collection)
            found = {
                term: [posting for each in shelf for posting in each.postings.get(term, ())] for term in terms
            }
            return {term: postings[:limit] for term, postings in found.items() if postings and limit}

    @override
    async def passages(self, tenant: int, places: Sequence[tuple[str, int]]) -> list[Passage]:
        with self._state.lock:
            shelf = self._shelves[tenant].filed
            there = [(shelf[ident], place) for ident, place in places if ident in shelf]
            return [filed.passage(place) for filed, place in there if 0 <= place < len(filed.passages)]


def _filed(document: Document, passages: Sequence[NewPassage]) -> _Filed:
    postings: dict[str, list[Posting]] = {}
    lengths = [sum(passage.terms.values()) for passage in passages]
    for place, (passage, length) in enumerate(zip(passages, lengths, strict=True)):
        check_text(passage.text, what="a passage")
        for term, count in passage.terms.items():
            posting = Posting(document_id=document.id, place=place, times=count, length=length)
            postings.setdefault(term, []).append(posting)
    return _Filed(document, tuple(passages), postings, sum(lengths))


def _collection(name: str, documents: Sequence[Document]) -> Collection:
    return Collection(
        name=name,
        documents=len(documents),
        passages=sum(document.passages for document in documents),
        characters=sum(document.characters for document in documents),
    )
