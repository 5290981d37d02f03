"""How a document gets into the tables, and out of them again."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import Table, bindparam, delete, insert, literal_column, select

from tertulia import ids
from tertulia.stores.documents import Document, NewPassage
from tertulia.stores.sql.documents_reading import DOCUMENT_COLUMNS, document_of
from tertulia.stores.sql.rows import inserting
from tertulia.stores.sql.schema import DOCUMENTS, PASSAGES, POSTINGS
from tertulia.stores.sql.statements import (
    Connection,
    Params,
    Statement,
    chunks,
    size_for,
    spread,
    table_of,
)

_D: Final = DOCUMENTS.c
_P: Final = PASSAGES.c
_T: Final = POSTINGS.c

_NAMED: Final = Statement(
    select(*DOCUMENT_COLUMNS)
    .where(
        _D.tenant == bindparam("tenant"),
        _D.collection == bindparam("collection"),
        _D.name == bindparam("name"),
    )
    .with_for_update()
)
_INSERT: Final = inserting(DOCUMENTS)
_ERASE: Final = Statement(
    delete(DOCUMENTS).where(_D.tenant == bindparam("tenant"), _D.id == bindparam("document")).returning(_D.id)
)
_ERASE_PARTS: Final = tuple(
    Statement(
        delete(table).where(
            table.c.tenant == bindparam("tenant"), table.c.document_id == bindparam("document")
        )
    )
    for table in (PASSAGES, POSTINGS)
)

_PASSAGE: Final = {name: _P[name].type for name in ("place", "location", "content", "length")}
_NO_PASSAGE: Final[Params] = {"place": -1, "location": "", "content": "", "length": 0}
_POSTING: Final = {name: _T[name].type for name in ("term", "place", "count", "length")}
_NO_POSTING: Final[Params] = {"term": "", "place": -1, "count": 0, "length": 0}


async def named_like(db: Connection, document: Document) -> Document | None:
    """Return the document that has this one's name in its collection; it is locked from then on."""
    key = {"tenant": document.tenant, "collection": document.collection, "name": document.name}
    row = await db.one(_NAMED, key)
    return None if row is None else document_of(row)


async def erase(db: Connection, tenant: int, document_id: str) -> bool:
    """Take a document away with its passages and terms; return whether it was there."""
    key = {"tenant": tenant, "document": ids.sought(document_id)}
    row = await db.one(_ERASE, key)
    for statement in _ERASE_PARTS:
        await db.run(statement, key)
    return row is not None


async def file(db: Connection, document: Document, passages: Sequence[NewPassage]) -> None:
    """Put a document into the tables; raises ``Clash`` if there is one of its name by now."""
    lengths = [sum(passage.terms.values()) for passage in passages]
    key: dict[str, Any] = {"tenant": document.tenant, "document_id": ids.to_bytes(document.id)}
    of_document = {"id": key["document_id"], "digest": document.digest, "length": sum(lengths)}
    rest = {name: getattr(document, name) for name in ("name", "media_type", "characters", "created_at")}
    counted = {"collection": document.collection, "passages": len(passages)}
    await db.run(_INSERT, {**key, **of_document, **rest, **counted})
    for rows in chunks([*_passage_rows(passages, lengths)]):
        await _insert(db, PASSAGES, rows, key)
    for rows in chunks([*_posting_rows(passages, lengths)]):
        await _insert(db, POSTINGS, rows, {**key, "collection": document.collection})


def _passage_rows(passages: Sequence[NewPassage], lengths: Sequence[int]) -> Iterator[Params]:
    for place, (passage, length) in enumerate(zip(passages, lengths, strict=True)):
        yield {"place": place, "location": passage.where, "content": passage.text, "length": length}


def _posting_rows(passages: Sequence[NewPassage], lengths: Sequence[int]) -> list[Params]:
    found = (
        {"term": term, "place": place, "count": count, "length": length}
        for place, (passage, length) in enumerate(zip(passages, lengths, strict=True))
        for term, count in passage.terms.items()
    )
    # In the order of the key, in which both databases write quickest.
    return sorted(found, key=lambda row: (row["term"], row["place"]))


async def _insert(db: Connection, table: Table, rows: Sequence[Params], key: Params) -> None:
    filler = _NO_PASSAGE if table is PASSAGES else _NO_POSTING
    size = size_for(len(rows))
    await db.run(_inserting(table, size), {**key, **spread(rows, size=size, filler=filler)})


@cache
def _inserting(table: Table, size: int) -> Statement:
    """Return the statement that inserts up to ``size`` rows of one document, those with a place."""
    given = _PASSAGE if table is PASSAGES else _POSTING
    rows = table_of("given", given, size=size)
    columns = [
        rows.c[column.name] if column.name in given else bindparam(column.name, type_=column.type)
        for column in table.c
    ]
    return Statement(
        insert(table).from_select(
            [column.name for column in table.c],
            select(*columns).where(rows.c.place >= literal_column("0")),
        )
    )
