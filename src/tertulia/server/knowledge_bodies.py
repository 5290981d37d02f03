"""How documents are received: as JSON, or as they are."""

from dataclasses import dataclass
from typing import Final

from fastapi import Request
from starlette.exceptions import HTTPException

from tertulia.errors import InvalidInput
from tertulia.messages import check_text
from tertulia.server.bodies import is_json, read, whole_body
from tertulia.server.knowledge_forms import NewText

_FROM_FORMS: Final = frozenset({"", "text/plain", "application/x-www-form-urlencoded"})
"""What any page that somebody looks at can have a browser send here, without being asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A document as it was sent."""

    name: str
    content: bytes
    content_type: str


async def received(request: Request, *, name: str | None) -> Sent:
    """Return the document of a request; ``name`` is what it is called if it comes as it is."""
    if is_json(request):
        form = await read(request, NewText)
        content = check_text(form.text, what="text").encode()
        return Sent(name=form.name, content=content, content_type="text/plain")
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        raise HTTPException(415, "Send the document itself as the body, without a form around it.")
    if kind in _FROM_FORMS and "origin" in request.headers:
        raise HTTPException(415, "From a page, send JSON, or say another Content-Type than that of a form.")
    if not name:
        raise InvalidInput("a document that is sent as it is needs a name: …/documents?name=handbook.pdf")
    return Sent(name=name, content=await whole_body(request), content_type=content_type)
