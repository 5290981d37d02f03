"""How documents, and what is found in them, are shown under ``/v1``."""

from typing import Final

from tertulia.memory.knowledge.library import Hit
from tertulia.messages import to_datetime
from tertulia.stores.documents import Collection, Document

_DIGITS: Final = 4


def document_row(document: Document) -> dict[str, object]:
    """Return a document."""
    return {
        "object": "document",
        "id": document.id,
        "collection": document.collection,
        "name": document.name,
        "media_type": document.media_type,
        "characters": document.characters,
        "passages": document.passages,
        "created_at": to_datetime(document.created_at),
    }


def collection_row(collection: Collection) -> dict[str, object]:
    """Return a collection."""
    return {
        "object": "collection",
        "name": collection.name,
        "documents": collection.documents,
        "passages": collection.passages,
        "characters": collection.characters,
    }


def hit_row(hit: Hit) -> dict[str, object]:
    """Return a passage that was found."""
    return {
        "object": "hit",
        "document_id": hit.document_id,
        "document": hit.document,
        "place": hit.place,
        "where": hit.where,
        "text": hit.text,
        "score": round(hit.score, _DIGITS),
    }
