"""The port to documents: texts in collections, cut into passages that can be found by their words.

The laws of :mod:`tertulia.stores.base` hold here too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document that was put into a collection; its text stands in its passages."""

    tenant: int
    id: str
    collection: str
    name: str
    """As its author calls it, unique within the collection: ``handbook.pdf``."""
    media_type: str
    digest: bytes
    """SHA-256 of what was given, so that the same document is not taken in twice."""
    characters: int
    passages: int
    created_at: int = 0
    """Microseconds since 1970, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPassage:
    """A piece of a document, and the words by which it can be found."""

    text: str
    where: str = ""
    """Where in the document it stands: a heading, ``page 3``."""
    terms: Mapping[str, int]
    """How often each term occurs in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A piece of a document as it is stored."""

    document_id: str
    document: str
    """The document's name."""
    place: int
    """Its place in the document, from 0."""
    text: str
    where: str = ""


class Posting(NamedTuple):
    """One term in one passage; a tuple, because one question may meet tens of thousands of them."""

    document_id: str
    place: int
    times: int
    """How often it occurs there."""
    length: int
    """Of the passage, in terms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A collection, and how much is in it."""

    name: str
    documents: int
    passages: int
    characters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much a collection holds, for weighing terms."""

    passages: int
    length: int
    """Of all passages, in terms."""


class DocumentStore(Protocol):
    """Documents in collections, and an index of their terms.

    Laws: a collection is there as long as a document is in it. A document with the name of another in
    its collection takes its place, in one transaction; the same document again (name and digest)
    changes nothing. Nothing is found that does not stand in the collection at that moment.
    """

    async def put(self, document: Document, passages: Sequence[NewPassage]) -> Document:
        """Keep a document; return it as it is kept.

        How many passages it has, and when it was made, is what the store finds itself.
        """
        ...

    async def get(self, tenant: int, document_id: str) -> Document:
        """Return a document; raises ``NotFound``."""
        ...

    async def page(
        self, tenant: int, collection: str | None = None, *, after: str | None = None, limit: int = 100
    ) -> list[Document]:
        """Return the documents of a collection, or of all."""
        ...

    async def collections(
        self, tenant: int, *, after: str | None = None, limit: int = 100
    ) -> list[Collection]:
        """Return the collections by name; ``after`` is the name of the last one seen."""
        ...

    async def delete(self, tenant: int, document_id: str) -> None:
        """Erase a document with its passages and terms; raises ``NotFound``."""
        ...

    async def extent(self, tenant: int, collection: str) -> Extent:
        """Return how much a collection holds; nothing if there is none."""
        ...

    async def postings(
        self, tenant: int, collection: str, terms: Sequence[str], *, limit: int = 100_000
    ) -> dict[str, list[Posting]]:
        """Return where these terms stand in a collection, at most ``limit`` postings for each term.

        They are in order of document and place; a term that does not occur is left out.
        """
        ...

    async def passages(self, tenant: int, places: Sequence[tuple[str, int]]) -> list[Passage]:
        """Return the passages at these places (document id and place) that are there, in this order."""
        ...
