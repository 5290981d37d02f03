"""Statements that read documents, passages and postings, with what their rows stand for."""

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, bindparam, func, literal_column, select

from tertulia import ids
from tertulia.stores.documents import Collection, Document, Passage, Posting
from tertulia.stores.sql.schema import DOCUMENTS, PASSAGES, POSTINGS
from tertulia.stores.sql.statements import Row, Statement

_D: Final = DOCUMENTS.c
_P: Final = PASSAGES.c
_T: Final = POSTINGS.c
_TENANT: Final = _D.tenant == bindparam("tenant")
_OF_COLLECTION: Final = (_TENANT, _D.collection == bindparam("collection"))
_ZERO: Final[ColumnElement[int]] = literal_column("0")

DOCUMENT_COLUMNS: Final[tuple[Column[Any], ...]] = tuple(
    _D[name]
    for name in [
        "tenant",
        "id",
        "collection",
        "name",
        "media_type",
        "digest",
        "characters",
        "passages",
        "created_at",
    ]
)
GET: Final = Statement(select(*DOCUMENT_COLUMNS).where(_TENANT, _D.id == bindparam("id")))
_PAGE: Final = (
    select(*DOCUMENT_COLUMNS).where(_D.id > bindparam("after")).order_by(_D.id).limit(bindparam("limit"))
)
LIST: Final = Statement(_PAGE.where(*_OF_COLLECTION))
LIST_ALL: Final = Statement(_PAGE.where(_TENANT))
COLLECTIONS: Final = Statement(
    select(_D.collection, func.count(), func.sum(_D.passages), func.sum(_D.characters))
    .where(_TENANT, _D.collection > bindparam("after"))
    .group_by(_D.collection)
    .order_by(_D.collection)
    .limit(bindparam("limit"))
)
EXTENT: Final = Statement(
    select(func.coalesce(func.sum(_D.passages), _ZERO), func.coalesce(func.sum(_D.length), _ZERO)).where(
        *_OF_COLLECTION
    )
)
POSTINGS_OF: Final = Statement(
    select(_T.document_id, _T.place, _T["count"], _T.length)
    .where(
        _T.tenant == bindparam("tenant"),
        _T.collection == bindparam("collection"),
        _T.term == bindparam("term"),
    )
    .order_by(_T.document_id, _T.place)
    .limit(bindparam("limit"))
)
PASSAGE: Final = Statement(
    select(_P.document_id, _D.name, _P.place, _P.content, _P.location)
    .join_from(PASSAGES, DOCUMENTS, (_D.tenant == _P.tenant) & (_D.id == _P.document_id))
    .where(
        _P.tenant == bindparam("tenant"),
        _P.document_id == bindparam("id"),
        _P.place == bindparam("place"),
    )
)


def document_of(row: Row) -> Document:
    """Return the document of a row of ``DOCUMENT_COLUMNS``."""
    tenant, ident, collection, name, media_type, digest, characters, passages, created_at = row
    return Document(
        tenant=tenant,
        id=ids.from_bytes(ids.DOCUMENT, bytes(ident)),
        collection=collection,
        name=name,
        media_type=media_type,
        digest=bytes(digest),
        characters=characters,
        passages=passages,
        created_at=created_at,
    )


def collection_of(row: Row) -> Collection:
    """Return the collection of a row of ``COLLECTIONS``."""
    name, documents, passages, characters = row
    return Collection(name=name, documents=int(documents), passages=int(passages), characters=int(characters))


def postings_of(rows: Sequence[Row]) -> list[Posting]:
    """Return the postings of rows of ``POSTINGS_OF``; of each document's many, its id is made once."""
    return [
        Posting(document_id, place, times, length)
        for raw, found in groupby(rows, key=itemgetter(0))
        for document_id in [ids.from_bytes(ids.DOCUMENT, bytes(raw))]
        for _, place, times, length in found
    ]


def passage_of(row: Row) -> Passage:
    """Return the passage of a row of ``PASSAGE``."""
    document_id, document, place, text, where = row
    return Passage(
        document_id=ids.from_bytes(ids.DOCUMENT, bytes(document_id)),
        document=document,
        place=place,
        text=text,
        where=where,
    )
