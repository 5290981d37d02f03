"""The routes of documents that agents can look things up in."""

from enum import Enum
from functools import partial
from typing import Final

from fastapi import APIRouter, Request, Response

from tertulia.app import App
from tertulia.conversations import DEFAULT_TENANT
from tertulia.errors import NotFound
from tertulia.ids import DOCUMENT
from tertulia.memory.knowledge.library import Library
from tertulia.memory.knowledge.limits import ReadingLimits
from tertulia.messages import check_text
from tertulia.server import knowledge_forms as forms
from tertulia.server import named
from tertulia.server.bodies import described, read
from tertulia.server.errors import answers
from tertulia.server.knowledge_bodies import received
from tertulia.server.knowledge_rows import collection_row, document_row, hit_row
from tertulia.server.lists import Page, as_response, listing, place
from tertulia.server.run_forms import Listing
from tertulia.stores.documents import Document

_TAGS: Final[list[str | Enum]] = ["knowledge"]
_NONE: Final = "there is no such collection; the first document that is put into it makes it"


class Knowledge:
    """The routes of this surface on one app."""

    def __init__(self, app: App) -> None:
        self._stored = app.store.documents
        limits = ReadingLimits(max_bytes=app.settings.max_document_bytes)
        self._library = Library(self._stored, tenant=DEFAULT_TENANT, limits=limits)

    def mount(self, router: APIRouter) -> None:
        """Add the routes."""
        add = partial(router.add_api_route, tags=_TAGS)
        one = "/v1/knowledge/{collection}"
        documents = f"{one}/documents"
        add(
            "/v1/knowledge",
            self.list_collections,
            responses=answers(Listing[forms.Collection], 422, 503),
        )
        add(
            one,
            self.delete_collection,
            methods=["DELETE"],
            responses=answers(forms.DeletedCollection, 404, 422, 503),
        )
        add(
            documents,
            self.add_document,
            methods=["POST"],
            responses=answers(forms.Document, 408, 413, 415, 422, 503),
            openapi_extra=forms.described_document(),
        )
        add(documents, self.list_documents, responses=answers(Listing[forms.Document], 422, 503))
        add(
            f"{documents}/{{document_id}}",
            self.get_document,
            responses=answers(forms.Document, 404, 422, 503),
        )
        add(
            f"{documents}/{{document_id}}",
            self.delete_document,
            methods=["DELETE"],
            responses=answers(forms.DeletedDocument, 404, 422, 503),
        )
        add(
            f"{one}/search",
            self.search_documents,
            methods=["POST"],
            responses=answers(Listing[forms.Hit], 404, 408, 413, 415, 422, 503),
            openapi_extra=described(forms.Search),
        )

    async def list_collections(
        self, request: Request, after: named.After = None, limit: named.Limit = named.PAGE
    ) -> Response:
        """List the collections by name, each with what is in it."""
        beyond = None if after is None else check_text(after, what="after")
        found = await self._stored.collections(DEFAULT_TENANT, after=beyond, limit=limit + 1)
        shown = found[:limit]
        following = shown[-1].name if len(found) > limit else None
        return listing(request, Page(rows=[*map(collection_row, shown)], after=following), limit=limit)

    async def delete_collection(self, collection: forms.CollectionName) -> Response:
        """Erase a collection with all its documents: nothing of them is found any more.

        What comes into it meanwhile may be erased as well.
        """
        erased = await self._library.remove_all(collection)
        if not erased:
            raise NotFound(_NONE)
        return as_response({"object": "collection", "name": collection, "deleted": True, "documents": erased})

    async def add_document(
        self, request: Request, collection: forms.CollectionName, name: forms.DocumentName = None
    ) -> Response:
        """Take a document into a collection: text, Markdown, HTML or PDF.

        It is sent as it is, with its Content-Type and its name in the query, or as JSON. It takes the
        place of the one with its name; the same document again changes nothing.
        """
        sent = await received(request, name=name)
        kept = await self._library.add(collection, sent.name, sent.content, content_type=sent.content_type)
        return as_response(document_row(kept))

    async def list_documents(
        self,
        request: Request,
        collection: forms.CollectionName,
        after: named.After = None,
        limit: named.Limit = named.PAGE,
    ) -> Response:
        """List the documents of a collection, oldest first."""
        found = await self._stored.page(
            DEFAULT_TENANT, collection, after=place(after, prefix=DOCUMENT), limit=limit + 1
        )
        shown = found[:limit]
        following = shown[-1].id if len(found) > limit else None
        return listing(request, Page(rows=[*map(document_row, shown)], after=following), limit=limit)

    async def get_document(self, collection: forms.CollectionName, document_id: named.Ident) -> Response:
        """Return what is known of a document; its text is found by searching."""
        return as_response(document_row(await self._found(collection, document_id)))

    async def delete_document(self, collection: forms.CollectionName, document_id: named.Ident) -> Response:
        """Erase a document: nothing of it is found any more."""
        found = await self._found(collection, document_id)
        await self._library.remove(found.id)
        return as_response({"object": "document", "id": found.id, "deleted": True})

    async def search_documents(self, request: Request, collection: forms.CollectionName) -> Response:
        """Return the passages of a collection that fit a question best, best first.

        There are none where nothing fits.
        """
        form = await read(request, forms.Search)
        query = check_text(form.query, what="query")
        hits = await self._library.search(collection, query, limit=form.limit)
        if not hits and not await self._stored.page(DEFAULT_TENANT, collection, limit=1):
            raise NotFound(_NONE)
        return listing(request, Page(rows=[*map(hit_row, hits)]), limit=form.limit)

    async def _found(self, collection: str, document_id: str) -> Document:
        found = await self._stored.get(DEFAULT_TENANT, check_text(document_id, what="document_id"))
        if found.collection != collection:
            raise NotFound("there is no such document in this collection")
        return found
