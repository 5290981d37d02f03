"""The library: documents taken in and found again, in any store."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Final

from tertulia.errors import InvalidInput, NotFound, StoreBusy, ToolUnavailable
from tertulia.ids import DOCUMENT, new_id
from tertulia.memory.knowledge.chunking import chunks_of
from tertulia.memory.knowledge.limits import ReadingLimits
from tertulia.memory.knowledge.ranking import asked_terms, ranked
from tertulia.memory.knowledge.readers import SUFFIXES, Reading, read_document
from tertulia.memory.knowledge.sections import Section
from tertulia.memory.knowledge.terms import terms_of
from tertulia.messages import check_text
from tertulia.stores.documents import Document, DocumentStore, NewPassage
from tertulia.tools.threads import Threads

MAX_NAME: Final = 200
"""Characters of the name of a document."""
MAX_COLLECTION: Final = 50
COLLECTION: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,{MAX_COLLECTION - 1}}}")
"""What a collection can be called: a part of URLs, and of the names of tools."""
MAX_HITS: Final = 50

_BATCH: Final = 500
_COMMON: Final = 5_000
_COMMON_SHARE: Final = 10
"""A term in more passages than these, and than one of so many, tells too little to be worth its time."""
_LATER: Final = 5.0
# What is bounded is the process's, whoever uses it.
_READERS: Final = Threads("documents are read", most=2, waiting=32, wait_seconds=60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A passage that fits what was asked."""

    document_id: str
    document: str
    """The document's name."""
    place: int
    """Its place in the document, from 0."""
    where: str
    """Where in the document it stands: its headings, or ``page 3``; may be empty."""
    text: str
    score: float
    """How well it fits, above 0; to be compared within one search only."""


class Library:
    """The documents of one tenant.

    Reading and cutting them up is done in threads, of which there are few in each process.
    """

    def __init__(
        self, documents: DocumentStore, *, tenant: int = 0, limits: ReadingLimits | None = None
    ) -> None:
        self._documents, self._tenant = documents, tenant
        self._limits = limits or ReadingLimits()

    async def add(self, collection: str, name: str, content: bytes, *, content_type: str = "") -> Document:
        """Take a document in, in place of one with its name; return it as it is kept.

        The same document again changes nothing. Raises :class:`~tertulia.errors.InvalidInput`, naming it
        and saying what to do, if it cannot be read, :class:`~tertulia.errors.MissingExtra` for a PDF
        without its library, and :class:`~tertulia.errors.StoreBusy` while too many are read at once.
        """
        check_collection(collection)
        check_document_name(name)
        call = partial(_taken_in, content, name=name, content_type=content_type, limits=self._limits)
        try:
            reading, passages = await _READERS.run(call)
        except InvalidInput as error:
            raise InvalidInput(f"{name}: {error}") from error
        except ToolUnavailable as error:
            raise StoreBusy(
                "many documents are being read; nothing was taken in, so send it again", retry_after=_LATER
            ) from error
        document = Document(
            tenant=self._tenant,
            id=new_id(DOCUMENT),
            collection=collection,
            name=name,
            media_type=reading.media_type,
            digest=sha256(reading.media_type.encode() + b"\n" + content).digest(),
            characters=reading.characters,
            passages=len(passages),
        )
        return await self._documents.put(document, passages)

    async def documents(self, collection: str) -> AsyncIterator[Document]:
        """Yield the documents of a collection in order of creation."""
        after: str | None = None
        while found := await self._documents.page(self._tenant, collection, after=after, limit=_BATCH):
            for document in found:
                yield document
            after = found[-1].id

    async def remove(self, document_id: str) -> None:
        """Erase a document with all that is found by it; raises :class:`~tertulia.errors.NotFound`."""
        await self._documents.delete(self._tenant, document_id)

    async def remove_all(self, collection: str) -> int:
        """Erase all documents of a collection, one after the other; return how many there were."""
        erased = 0
        while found := await self._documents.page(self._tenant, collection, limit=_BATCH):
            for document in found:
                with suppress(NotFound):  # somebody else was quicker
                    await self.remove(document.id)
                    erased += 1
        return erased

    async def search(self, collection: str, query: str, *, limit: int) -> list[Hit]:
        """Return the passages of a collection that fit a question or a message best, best first.

        There are none if nothing fits: also for courtesies, or where a word of it occurs by chance.
        """
        asked = asked_terms(await asyncio.to_thread(terms_of, query))
        if not asked:
            return []
        extent = await self._documents.extent(self._tenant, collection)
        most = max(_COMMON, extent.passages // _COMMON_SHARE)
        postings = await self._documents.postings(self._tenant, collection, asked, limit=most + 1)
        telling = {term: found for term, found in postings.items() if len(found) <= most} or postings
        left = [term for term in asked if term in telling or term not in postings]
        best = await asyncio.to_thread(partial(ranked, left, telling, extent, limit=limit))
        scores = {(each.document_id, each.place): each.score for each in best}
        return [
            Hit(
                document_id=passage.document_id,
                document=passage.document,
                place=passage.place,
                where=passage.where,
                text=passage.text,
                score=scores[passage.document_id, passage.place],
            )
            for passage in await self._documents.passages(self._tenant, [*scores])
        ]


def check_collection(name: str) -> str:
    """Return the name of a collection; raises :class:`~tertulia.errors.InvalidInput` for what is none."""
    if not COLLECTION.fullmatch(name):
        raise InvalidInput(
            f"the name of a collection has 1 to {MAX_COLLECTION} letters (A-Z, a-z), digits, '-' and '_', "
            "and begins with a letter or a digit"
        )
    return name


def check_document_name(name: str) -> str:
    """Return the name of a document; raises :class:`~tertulia.errors.InvalidInput` for what is none."""
    check_text(name, what="the name of a document")
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise InvalidInput(f"the name of a document has 1 to {MAX_NAME} printable characters")
    return name


def passages_of(sections: Sequence[Section], *, name: str) -> list[NewPassage]:
    """Return the passages of a document, each with its terms and those of its headings and the name."""
    titled = Counter(terms_of(_title(name)))
    return [
        NewPassage(
            text=chunk,
            where=section.where,
            terms=Counter(terms_of(chunk)) + Counter(terms_of(section.words)) + titled,
        )
        for section in sections
        for chunk in chunks_of(section.text)
    ]


def _title(name: str) -> str:
    """Return what the name of a document says of what it is about."""
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in SUFFIXES else name


def _taken_in(
    content: bytes, *, name: str, content_type: str, limits: ReadingLimits
) -> tuple[Reading, list[NewPassage]]:
    reading = read_document(content, name=name, content_type=content_type, limits=limits)
    return reading, passages_of(reading.sections, name=name)
