"""Documents and the index of their terms, in SQL."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from typing_extensions import override

from tertulia import ids
from tertulia.errors import NotFound, StoreBusy
from tertulia.messages import now_us
from tertulia.stores.documents import (
    Collection,
    Document,
    DocumentStore,
    Extent,
    NewPassage,
    Passage,
    Posting,
)
from tertulia.stores.sql import documents_filing as filing
from tertulia.stores.sql import documents_reading as reading
from tertulia.stores.sql.database import Clash, Database
from tertulia.stores.sql.statements import Connection, Row

_TRIES: Final = 10


class SqlDocuments(DocumentStore):
    """Documents in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @override
    async def put(self, document: Document, passages: Sequence[NewPassage]) -> Document:
        kept = replace(document, passages=len(passages), created_at=now_us())

        async def unit(db: Connection) -> Document:
            earlier = await filing.named_like(db, kept)
            if earlier is not None and earlier.digest == kept.digest:
                return earlier
            if earlier is not None:
                await filing.erase(db, kept.tenant, earlier.id)
            await filing.file(db, kept, passages)
            return kept

        await self._database.check_room()
        for _ in range(_TRIES):
            try:
                return await self._database.write(unit, tenant=document.tenant)
            except Clash:  # somebody else was quicker to put one of this name
                continue
        raise StoreBusy("many are changing this document at once; ask again", retry_after=1.0)

    @override
    async def get(self, tenant: int, document_id: str) -> Document:
        params = {"tenant": tenant, "id": ids.sought(document_id)}

        async def unit(db: Connection) -> Row | None:
            return await db.one(reading.GET, params)

        row = await self._database.read(unit, tenant=tenant)
        if row is None:
            raise NotFound("there is no such document")
        return reading.document_of(row)

    @override
    async def page(
        self, tenant: int, collection: str | None = None, *, after: str | None = None, limit: int = 100
    ) -> list[Document]:
        params: dict[str, Any] = {"tenant": tenant, "collection": collection, "limit": limit}
        params["after"] = ids.sought(after) if after else bytes(16)
        statement = reading.LIST_ALL if collection is None else reading.LIST

        async def unit(db: Connection) -> Sequence[Row]:
            return await db.all(statement, params)

        return [reading.document_of(row) for row in await self._database.read(unit, tenant=tenant)]

    @override
    async def collections(
        self, tenant: int, *, after: str | None = None, limit: int = 100
    ) -> list[Collection]:
        params = {"tenant": tenant, "after": after or "", "limit": limit}

        async def unit(db: Connection) -> Sequence[Row]:
            return await db.all(reading.COLLECTIONS, params)

        return [reading.collection_of(row) for row in await self._database.read(unit, tenant=tenant)]

    @override
    async def delete(self, tenant: int, document_id: str) -> None:
        async def unit(db: Connection) -> bool:
            return await filing.erase(db, tenant, document_id)

        if not await self._database.write(unit, tenant=tenant):
            raise NotFound("there is no such document")

    @override
    async def extent(self, tenant: int, collection: str) -> Extent:
        params = {"tenant": tenant, "collection": collection}

        async def unit(db: Connection) -> Row | None:
            return await db.one(reading.EXTENT, params)

        passages, length = await self._database.read(unit, tenant=tenant) or (0, 0)
        return Extent(passages=int(passages), length=int(length))

    @override
    async def postings(
        self, tenant: int, collection: str, terms: Sequence[str], *, limit: int = 100_000
    ) -> dict[str, list[Posting]]:
        params = {"tenant": tenant, "collection": collection, "limit": limit}

        async def unit(db: Connection) -> dict[str, Sequence[Row]]:
            wanted = dict.fromkeys(terms)
            return {term: await db.all(reading.POSTINGS_OF, {**params, "term": term}) for term in wanted}

        found = await self._database.read(unit, tenant=tenant)
        return {term: reading.postings_of(rows) for term, rows in found.items() if rows}

    @override
    async def passages(self, tenant: int, places: Sequence[tuple[str, int]]) -> list[Passage]:
        wanted = [
            {"tenant": tenant, "id": ids.sought(document), "place": place} for document, place in places
        ]

        async def unit(db: Connection) -> list[Row | None]:
            return [await db.one(reading.PASSAGE, params) for params in wanted]

        found = await self._database.read(unit, tenant=tenant)
        return [reading.passage_of(row) for row in found if row is not None]
