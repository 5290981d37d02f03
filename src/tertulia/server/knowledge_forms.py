"""What the routes of documents take and give, field by field."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

from fastapi import Path, Query
from pydantic import BaseModel, Field, StringConstraints

from tertulia.memory.knowledge.library import MAX_COLLECTION, MAX_HITS, MAX_NAME
from tertulia.memory.knowledge.readers import HTML, MARKDOWN, PDF, TEXT
from tertulia.server.bodies import Body, described, shown_as

MAX_QUERY: Final = 10_000
HITS: Final = 5

CollectionName: TypeAlias = Annotated[
    str,
    Path(
        min_length=1,
        max_length=MAX_COLLECTION,
        pattern="^[A-Za-z0-9][A-Za-z0-9_-]*$",
        description="Made by the first document that is put into it, gone with the last.",
    ),
]
DocumentName: TypeAlias = Annotated[
    str | None,
    Query(max_length=MAX_NAME, description="What the document is called, where it is sent as it is."),
]


class NewText(Body):
    """A document as text; its name tells what kind it is (``.md``, ``.html``; otherwise plain text)."""

    model_config = shown_as({"name": "leave.md", "text": "# Leave\n\nEvery employee has 25 days a year."})

    name: Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME)]
    text: str


class Search(Body):
    """What is sought in a collection."""

    model_config = shown_as({"query": "How many days of leave do I have?"})

    query: str = Field(min_length=1, max_length=MAX_QUERY)
    limit: int = Field(default=HITS, ge=1, le=MAX_HITS, description="Passages at most.")


class Document(BaseModel):
    """A document that was taken in."""

    object: Literal["document"]
    id: str
    collection: str
    name: str
    media_type: str
    characters: int = Field(description="Of its text.")
    passages: int = Field(description="Into how many it was cut.")
    created_at: datetime


class DeletedDocument(BaseModel):
    """What is left of a document."""

    object: Literal["document"]
    id: str
    deleted: Literal[True]


class DeletedCollection(BaseModel):
    """What is left of a collection."""

    object: Literal["collection"]
    name: str
    deleted: Literal[True]
    documents: int = Field(description="How many were erased.")


class Collection(BaseModel):
    """A collection of documents."""

    object: Literal["collection"]
    name: str
    documents: int
    passages: int
    characters: int


class Hit(BaseModel):
    """A passage that fits what was sought."""

    object: Literal["hit"]
    document_id: str
    document: str = Field(description="The document's name.")
    place: int = Field(description="Of the passage in the document, from 0.")
    where: str = Field(description="Its headings or its page, where there are any.")
    text: str
    score: float = Field(description="How well it fits; to be compared within one search only.")


_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}


def described_document() -> dict[str, Any]:
    """Return the OpenAPI description of a route that reads a document, as JSON or as it is."""
    as_json: dict[str, Any] = described(NewText)["requestBody"]["content"]
    kinds = (TEXT, MARKDOWN, HTML, PDF, "application/octet-stream")
    return {"requestBody": {"required": True, "content": as_json | dict.fromkeys(kinds, _BINARY)}}
