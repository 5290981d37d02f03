"""Reading public web pages: a tool that an installation has if its settings name it."""

import codecs
import re
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urljoin

import aiohttp

from tertulia.errors import ToolError, ToolUnavailable
from tertulia.tools.addresses import check_url
from tertulia.tools.functions import tool
from tertulia.tools.guard import MAX_REDIRECTS, Resolve, resolve
from tertulia.tools.guarded_aiohttp import guarded_session
from tertulia.tools.page_text import page_text
from tertulia.tools.threads import in_own_thread

MAX_PAGE: Final = 1024 * 1024
"""Bytes of a page that are read."""
_SECONDS: Final = 30.0
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_TEXT: Final = re.compile(r"text/.*|application/(?:.*\+)?(?:json|xml)|application/(?:javascript|yaml)")
_HTML: Final = frozenset({"text/html", "application/xhtml+xml"})
_ASIDE: Final = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?([\w.:-]{1,40})""", re.IGNORECASE)
_CHARSETS: Final = re.compile(r"utf|iso8859|latin|ascii|cp\d|gb|big5|shift_jis|euc|koi8|mac")
_HEADERS: Final = {
    "Accept": "text/html, application/xhtml+xml, text/*;q=0.9, application/json;q=0.8, */*;q=0.1",
    "Accept-Encoding": "identity",
    "User-Agent": "tertulia",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What was found at an address."""

    url: str
    """Where it was found, after all redirects."""
    media_type: str
    charset: str | None
    body: bytes
    is_cut: bool
    """Whether there was more of it."""


@tool(is_idempotent=True, within_seconds=_SECONDS)
async def web_page(url: str) -> str:
    """Read a public web page, and return its text with its links.

    Args:
        url: The page's address, beginning with https:// or http://.
    """
    return await read_page(url)


async def read_page(url: str, *, resolve: Resolve = resolve) -> str:
    """Return the text of a public web page.

    Raises :class:`AddressRefused` for an address that is not public, also after a redirect,
    :class:`ToolUnavailable` if it cannot be reached, :class:`ToolError` if there is no text.
    """
    page = await fetch(url, resolve=resolve)
    text = await in_own_thread(partial(_text_of, page))
    return f"{text}\n[cut: the page is longer than {MAX_PAGE} bytes]" if page.is_cut else text


async def fetch(url: str, *, resolve: Resolve = resolve) -> Page:
    """Return what is found at a public address; raises as :func:`read_page`."""
    async with guarded_session(resolve=resolve) as session:
        for _ in range(MAX_REDIRECTS + 1):
            check_url(url)
            try:
                found = await _asked(session, url)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise ToolUnavailable("this address cannot be reached") from error
            if isinstance(found, Page):
                return found
            url = found
    raise ToolUnavailable(f"this address leads on more than {MAX_REDIRECTS} times")


async def _asked(session: aiohttp.ClientSession, url: str) -> Page | str:
    """Return what is there, or where to go on."""
    async with session.get(url, headers=_HEADERS, allow_redirects=False) as response:
        if response.status in _REDIRECTS and (target := response.headers.get("Location")):
            return urljoin(url, target)
        if not response.ok:
            raise ToolError(f"the page cannot be shown: its server answered with status {response.status}")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise ToolError("the page cannot be shown: its server only sends it packed")
        if not _TEXT.fullmatch(response.content_type) or "Content-Type" not in response.headers:
            raise ToolError("there is no text at this address")
        body, is_cut = await _body(response)
    return Page(url=url, media_type=response.content_type, charset=response.charset, body=body, is_cut=is_cut)


async def _body(response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """Return what is read of a page, and whether there is more."""
    body = b""
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_PAGE:
            return body[:MAX_PAGE], True
    return body, False


def _text_of(page: Page) -> str:
    text = page.body.decode(_codec(page), "replace")
    return page_text(text, url=page.url) if page.media_type in _HTML else text


def _codec(page: Page) -> str:
    """Return how the page is written, by its header or its own words, if that is a way we know."""
    aside = _ASIDE.search(page.body[:2048]) if page.media_type in _HTML else None
    named = page.charset or (aside[1].decode("ascii", "ignore") if aside else "utf-8")
    try:
        codec = codecs.lookup(named).name
    except (LookupError, ValueError):
        return "utf-8"
    # Python knows codecs that are no way to write text, and some that take very long.
    return codec if _CHARSETS.match(codec) and codec != "utf-7" else "utf-8"
