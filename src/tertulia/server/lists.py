"""How lists are answered: whole when no limit is given, a page with a link to the next one otherwise."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, TypeAlias

import orjson
from fastapi import Request, Response
from starlette.responses import StreamingResponse

from tertulia.errors import InvalidInput
from tertulia.ids import is_id
from tertulia.server.options import whole_number

MAX_LIMIT: Final = 1000
_BATCH: Final = 200
_NOWHERE: Final = "after names no place in this list; take it from the Link header of the page before"
JSON: Final = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some rows of a list, and where the rows after them begin."""

    rows: Sequence[object]
    after: str | None = None
    """What the next page is asked for with; ``None`` if there is none."""


Turn: TypeAlias = Callable[[str | None, int], Awaitable[Page]]
"""Turns to the page after a place, with so many rows at most."""


async def answer(request: Request, turn: Turn, *, after: str | None, limit: int | None) -> Response:
    """Return the list as JSON; a long whole one is sent while it is read, so that memory stays flat."""
    page = _leading_on(await turn(after, limit or _BATCH), {after})
    if page.after is None:
        return as_response(page.rows)
    if limit is None:
        return StreamingResponse(_whole(page, turn), media_type=JSON)
    headers = _link(request, after=page.after, limit=limit)
    return Response(as_json(page.rows), headers=headers, media_type=JSON)


def listing(request: Request, page: Page, *, limit: int) -> Response:
    """Return a page of a list as an object, which tells what to ask for the next page with."""
    listed = {"object": "list", "data": page.rows, "has_more": page.after is not None, "cursor": page.after}
    headers = {} if page.after is None else _link(request, after=page.after, limit=limit)
    return Response(as_json(listed), headers=headers, media_type=JSON)


def place(after: str | None, *, prefix: str) -> str | None:
    """Return where a page begins if it can: an id with this prefix."""
    if after is not None and not is_id(after, prefix=prefix):
        raise InvalidInput(_NOWHERE)
    return after


def place_number(after: str | None) -> int:
    """Return where a page begins if it can: a number, 0 for the beginning."""
    return 0 if after is None else whole_number(after, otherwise=_NOWHERE)


def _link(request: Request, *, after: str, limit: int) -> dict[str, str]:
    following = request.url.include_query_params(after=after, limit=limit)
    return {"link": f'<{following.path}?{following.query}>; rel="next"'}


def as_json(value: object) -> bytes:
    """Return a value as JSON, times in UTC with a ``Z``."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)


def as_response(value: object) -> Response:
    """Return a value as the JSON answer to a request."""
    return Response(as_json(value), media_type=JSON)


async def _whole(first: Page, turn: Turn) -> AsyncIterator[bytes]:
    yield b"["
    separator = b""
    async with aclosing(_pages(first, turn)) as pages:
        async for page in pages:
            if page.rows:
                yield separator + as_json(page.rows)[1:-1]
                separator = b","
    yield b"]"


async def _pages(first: Page, turn: Turn) -> AsyncGenerator[Page, None]:
    page, been = first, {first.after}
    yield page
    while page.after is not None:
        page = _leading_on(await turn(page.after, _BATCH), been)
        been.add(page.after)
        yield page


def _leading_on(page: Page, been: set[str | None]) -> Page:
    """Return a page, unless what follows it has been shown before: such a list would never end."""
    if page.after is not None and page.after in been:
        raise RuntimeError("the page after this one begins where an earlier one did")
    return page
