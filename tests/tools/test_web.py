"""Reading web pages."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.errors import ToolError, ToolUnavailable
from tertulia.parts import ToolCall
from tertulia.testing.tool_contract import a_context
from tertulia.tools.page_text import page_text
from tertulia.tools.using import use
from tertulia.tools.web import MAX_PAGE, read_page, web_page
from tests.tools.servers import served

HTML = b"text/html; charset=utf-8"


class Site:
    """Serves one page."""

    def __init__(self) -> None:
        self.body: bytes = b""
        self.headers: list[tuple[bytes, bytes]] = [(b"content-type", HTML)]
        self.status = 200
        self.endless = False
        self.asked: dict[str, str] = {}
        self.port = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked = {name.decode(): value.decode() for name, value in scope["headers"]}
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await receive()
        gone = asyncio.create_task(receive())
        while self.endless and not gone.done():
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            await asyncio.sleep(0)
        gone.cancel()
        await send({"type": "http.response.body", "body": self.body})


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """A site on the loopback, which counts as public here."""
    for module in ("guard", "guarded_aiohttp"):
        monkeypatch.setattr(f"tertulia.tools.{module}.is_public", lambda address: address == "127.0.0.1")
    site = Site()
    async with served(site.__call__) as site.port:
        yield site


async def at_home(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


async def read(site: Site) -> str:
    return await read_page(f"http://page.example:{site.port}/folder/page", resolve=at_home)


async def test_a_page_is_read_as_text(site: Site) -> None:
    site.body = "<title>Zoë</title><p>Hello <b>you</b>.</p><a href='next'>Next</a>".encode()

    text = await read(site)

    assert text == f"Zoë\n\nHello you.\n\n[Next](http://page.example:{site.port}/folder/next)"
    assert site.asked["host"] == f"page.example:{site.port}"
    assert site.asked["accept-encoding"] == "identity"
    assert "cookie" not in site.asked


@pytest.mark.parametrize(
    ("media_type", "body", "text"),
    [
        (b"text/plain", "<p>é".encode(), "<p>é"),
        (b"application/json", b'{"a": 1}', '{"a": 1}'),
        (b"application/problem+json", b"{}", "{}"),
        (b"text/plain; charset=iso-8859-1", b"\xe9", "é"),
        (b"text/plain; charset=utf-16", "é".encode("utf-16"), "é"),
        (b"text/plain; charset=zip_codec", "é".encode(), "é"),
        (b"text/plain; charset=idna", "é".encode(), "é"),
        (b"text/plain; charset=nonsense", b"\xff", "\ufffd"),
        (b"text/html", b"<meta charset='iso-8859-1'>\xe9", "é"),
        (b"application/xhtml+xml", b"<html><body>a</body></html>", "a"),
    ],
)
async def test_text_of_other_kinds_is_read_as_it_is_written(
    site: Site, media_type: bytes, body: bytes, text: str
) -> None:
    site.headers, site.body = [(b"content-type", media_type)], body

    assert await read(site) == text


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-type", b"image/png")],
        [(b"content-type", b"application/octet-stream")],
        [(b"content-type", b"application/pdf")],
        [],
        [(b"content-type", HTML), (b"content-encoding", b"gzip")],
    ],
)
async def test_what_is_no_text_is_not_read(site: Site, headers: list[tuple[bytes, bytes]]) -> None:
    site.headers, site.body = headers, b"x"

    with pytest.raises(ToolError):
        await read(site)


async def test_a_page_without_end_is_cut_while_it_is_read(site: Site) -> None:
    site.endless = True
    site.headers = [(b"content-type", b"text/plain")]

    text = await read(site)

    assert text.startswith("x" * MAX_PAGE + "\n[cut: ")
    assert len(text) < MAX_PAGE + 100


@pytest.mark.parametrize("status", [404, 403, 500])
async def test_a_page_that_is_not_there_is_told(site: Site, status: int) -> None:
    site.status, site.body = status, b"SECRET"

    with pytest.raises(ToolError, match=str(status)) as raised:
        await read(site)

    assert "SECRET" not in str(raised.value)


async def test_a_site_that_takes_no_connection_is_told(site: Site) -> None:
    with pytest.raises(ToolUnavailable):
        await read_page("http://page.example:1/", resolve=at_home)


async def test_an_address_inside_is_told_to_the_model() -> None:
    call = ToolCall(id="1", name="web_page", arguments='{"url": "http://127.0.0.1:1/"}')

    result = await use(web_page, call, a_context())

    assert result.is_error
    assert result.text == "this address leads to no public host"


def test_reading_twice_does_no_harm() -> None:
    assert web_page.rules.is_idempotent
    assert not web_page.rules.needs_approval


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<h1>A</h1><h3>B</h3><p>c", "# A\n\n### B\n\nc"),
        ("<ul><li>a<li>b</ul>", "- a\n- b"),
        ("a<br>b<div>c</div>d", "a\nb\nc\nd"),
        ("<pre>a\n  b</pre>", "a\n  b"),
        ("a  \n  b &amp; c&nbsp;d", "a b & c d"),
        ("<script>x<p></script><style>y</style>a<noscript>z</noscript>", "a"),
        ("<svg><title>x</title></svg>a", "a"),
        ("a</script></svg>b", "ab"),
        ("<!-- x -->a<!doctype html>", "a"),
        ("<a href='/b'>c</a>", "[c](https://x.example/b)"),
        ("<a href='#b'>c</a><a>d</a><a href='javascript:e'>f</a>", "cdf"),
        ("<a href='b c)d'>e</a>", "[e](https://x.example/a/b%20c%29d)"),
        ("<a href='b'><img alt='cat'></a><a href='b'><img></a>", "[cat](https://x.example/a/b)"),
        ("<a href='http://[x'>c</a>", "c"),
        ("<table><tr><td>a<td>b</td></tr></table>", "ab |"),
        ("<a href='x' title='a > b'>c</a>", "[c](https://x.example/a/x)"),
        ('<p title="it\'s">a</p>', "a"),
        ("1 < 2 > 1", "1 < 2 > 1"),
        ("<A HREF=b>c</A>", "[c](https://x.example/a/b)"),
        ("<a href='?a=1&amp;b=2'>c</a>", "[c](https://x.example/a/?a=1&b=2)"),
        ("<textarea><p>a</textarea>b", "b"),
        ("a<!-- <p> > -->b<!-- never ended <p>c", "ab"),
        ("a<svg><svg></svg>b</svg>c", "ac"),
        ("a<", "a<"),
        ("a<b", "a"),
        ("", ""),
    ],
)
def test_a_page_becomes_what_it_shows(html: str, text: str) -> None:
    assert page_text(html, url="https://x.example/a/") == text


@given(
    html=st.text()
    | st.lists(
        st.sampled_from(
            ["<a href=x>", "</a>", "<p>", "<li>", "<svg>", "x", "<", "<!--", "<!", "'", '"', ">", "&"]
        )
    ).map("".join)
)
def test_no_page_is_too_odd(html: str) -> None:
    assert isinstance(page_text(html, url="https://x.example/"), str)


@pytest.mark.parametrize(
    "part", ["<a ", "<!--", "<a b='", "</", "<svg>", '<a href=">', "&#", "<script", "<![", "<p>"]
)
def test_no_page_takes_long(part: str) -> None:
    whole = part * (MAX_PAGE // len(part))

    # By the pytest timeout: what grows with the square of its length takes hours.
    assert isinstance(page_text(whole, url="https://x.example/"), str)
