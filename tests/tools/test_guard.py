"""The guard: whoever names an address sends us nowhere but to the open internet."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any

import aiohttp
import httpx2
import pytest

from tertulia.definitions import RemoteTools
from tertulia.errors import AddressRefused, ToolError, ToolUnavailable
from tertulia.tools.addresses import check_url, is_public
from tertulia.tools.allowance import Allowance
from tertulia.tools.guard import Resolve, public_addresses
from tertulia.tools.guarded_aiohttp import guarded_session
from tertulia.tools.guarded_httpx import PinnedTransport, guarded_client
from tertulia.tools.mcp_line import MAX_ANSWER
from tertulia.tools.mcp_server import open_remote
from tertulia.tools.web import fetch
from tests.tools.servers import Canary, Redirecting, served

PUBLIC = "93.184.215.14"

# {port} is where something listens that must not be reached.
BAD_URLS = [
    "http://127.0.0.1:{port}/",
    "http://127.0.0.1:{port}/mcp?x=http://example.com",
    "https://127.0.0.1:{port}/",
    "http://127.8.9.10:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://2130706433:{port}/",
    "http://02130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0X7F.0.0.1:{port}/",
    "http://0x7f.1:{port}/",
    "http://017700000001:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://0177.0.0.01:{port}/",
    "http://00000127.0.0.1:{port}/",
    "http://127.0.0.0x1:{port}/",
    "http://4294967297:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://127。0。0。1:{port}/",
    "http://127\uff0e0\uff0e0\uff0e1:{port}/",
    "http://\uff11\uff12\uff17.0.0.1:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://ⓛⓞⓒⓐⓛhost:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST.:{port}/",
    "http://anything.localhost:{port}/",
    "http://localhost%00.example.com:{port}/",
    "http://127.0.0.1%2f.example.com:{port}/",
    "http://[::1]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://[::]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[::ffff:0:127.0.0.1]:{port}/",
    "http://[64:ff9b::127.0.0.1]:{port}/",
    "http://[64:ff9b:1::127.0.0.1]:{port}/",
    "http://[2002:7f00:1::]:{port}/",
    "http://[2001:0:7f00:1::80ff:fffe]:{port}/",
    "http://[fe80::1%25lo]:{port}/",
    "http://[::1%25lo]:{port}/",
    "http://[::1%lo]:{port}/",
    "http://user@127.0.0.1:{port}/",
    "http://user:word@127.0.0.1:{port}/",
    "http://example.com@127.0.0.1:{port}/",
    "http://example.com:80@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}@example.com/",
    "http://example.com\\@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@example.com/",
    "http://127.0.0.1\t:{port}/",
    "http://127.0.0.1\n:{port}/",
    " http://127.0.0.1:{port}/",
    "http:\\\\127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "ws://127.0.0.1:{port}/",
    "ftp://127.0.0.1:{port}/",
    "gopher://127.0.0.1:{port}/_GET",
    "file:///etc/passwd",
    "unix:///var/run/docker.sock",
    "http://",
    "http://:{port}/",
    "http://[::1:{port}/",
    "http://127.0.0.1:99999999/",
    "http://intranet:{port}/",
    "http://a..b:{port}/",
]

PRIVATE = [
    "0.0.0.0",  # noqa: S104  # nobody listens there
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:8.8.8.8",
    "64:ff9b::10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:a00:1::1",
    "2002:808:808::1",
    "2606:4700::5efe:10.0.0.1",
    "2606:4700::200:5efe:127.0.0.1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1%eth0",
    "fec0::1",
    "ff02::1",
    "localhost",
    "127.1",
    "",
]


class Names:
    """A resolver that says what it was told to, in turn, and counts."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = [*answers]
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def pinned(answer: Callable[[httpx2.Request], httpx2.Response], *, resolve: Resolve) -> PinnedTransport:
    return PinnedTransport(httpx2.MockTransport(answer), resolve=resolve, allowance=Allowance(MAX_ANSWER))


@pytest.fixture
async def canary() -> AsyncIterator[Canary]:
    async with Canary().listening() as listening:
        yield listening


@pytest.fixture
async def redirecting() -> AsyncIterator[Redirecting]:
    async with Redirecting().listening() as listening:
        yield listening


@pytest.fixture
def open_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.1 counts as public where a name leads to it; nothing else is changed."""

    def is_fine(address: str) -> bool:
        return address == "127.0.0.1" or is_public(address)

    monkeypatch.setattr("tertulia.tools.guard.is_public", is_fine)
    monkeypatch.setattr("tertulia.tools.guarded_aiohttp.is_public", is_fine)


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_one_public_host_are_told(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "172.32.0.1",
        "192.0.1.1",
        "223.255.255.254",
        "2606:4700:4700::1111",
        "2a00:1450:4001:82a::200e",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2606:4700::5efe:8.8.8.8",
    ],
)
def test_addresses_of_public_hosts_are_told(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_that_leads_inside_is_refused_before_anything_is_asked(url: str) -> None:
    with pytest.raises(AddressRefused):
        check_url(url.format(port=8000))


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "http://example.com:8080/a/b?c=d#e",
        "https://EXAMPLE.com./",
        "https://münchen.example/straße",
        "https://xn--mnchen-3ya.example/",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]:443/",
        "https://127.0.0.1.example.com/",
        "https://example.com/@127.0.0.1",
    ],
)
def test_a_url_of_the_open_internet_is_not_refused(url: str) -> None:
    check_url(url)


def test_a_url_of_any_length_is_refused_at_once() -> None:
    with pytest.raises(AddressRefused):
        check_url("https://example.com/" + "a" * 10_000)


@pytest.mark.parametrize("url", BAD_URLS)
async def test_the_reader_of_pages_does_not_go_inside(url: str, canary: Canary) -> None:
    with pytest.raises((AddressRefused, ToolUnavailable)):
        await fetch(url.format(port=canary.port))

    assert canary.visits == 0


@pytest.mark.parametrize("url", BAD_URLS)
async def test_a_guarded_session_does_not_go_inside_whoever_checked_before(url: str, canary: Canary) -> None:
    async with guarded_session() as session:
        with pytest.raises((AddressRefused, ToolUnavailable, aiohttp.ClientError, ValueError)):
            await session.get(url.format(port=canary.port))

    assert canary.visits == 0


@pytest.mark.parametrize("url", BAD_URLS)
async def test_a_guarded_client_does_not_go_inside(url: str, canary: Canary) -> None:
    async with guarded_client(Allowance(MAX_ANSWER), timeout=5) as client:
        with pytest.raises((AddressRefused, ToolUnavailable, httpx2.HTTPError, httpx2.InvalidURL)):
            await client.get(url.format(port=canary.port))

    assert canary.visits == 0


@pytest.mark.parametrize("url", BAD_URLS[::4])
async def test_a_server_of_tools_is_not_looked_for_inside(url: str, canary: Canary) -> None:
    source = open_remote(RemoteTools(label="inside", url=url.format(port=canary.port)))

    with pytest.raises(ToolUnavailable):
        await source.tools()

    assert canary.visits == 0
    await source.close()


@pytest.mark.parametrize("answer", [["127.0.0.1"], ["::1"], [PUBLIC, "127.0.0.1"], ["::ffff:127.0.0.1"]])
async def test_a_name_that_leads_inside_is_refused(answer: list[str], canary: Canary) -> None:
    url = f"http://page.example:{canary.port}/"

    with pytest.raises(AddressRefused):
        await fetch(url, resolve=Names(answer))
    async with guarded_client(Allowance(MAX_ANSWER), timeout=5, resolve=Names(answer)) as client:
        with pytest.raises(AddressRefused):
            await client.get(url)

    assert canary.visits == 0


async def test_what_was_checked_is_what_is_connected_to(canary: Canary, open_loopback: None) -> None:
    names = Names(["127.0.0.1"], ["127.0.0.2"])

    page = await fetch(f"http://page.example:{canary.port}/", resolve=names)

    assert page.body == b"caged"
    assert names.asked == ["page.example"]


async def test_an_answer_that_changes_is_checked_again_for_the_next_connection(
    canary: Canary, open_loopback: None
) -> None:
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    url = f"http://page.example:{canary.port}/"
    await fetch(url, resolve=names)

    with pytest.raises(AddressRefused):
        await fetch(url, resolve=names)


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:{port}/",
        "http://[::1]:{port}/",
        "http://localhost:{port}/",
        "//127.0.0.1:{port}/",
        "file:///x",
        "FILE:/etc/passwd",
        "data:text/plain,x",
        "gopher://page.example/",
        "javascript:x",
    ],
)
async def test_a_redirect_inside_is_not_followed(
    target: str, canary: Canary, open_loopback: None, redirecting: Redirecting
) -> None:
    redirecting.target = target.format(port=canary.port)

    with pytest.raises(AddressRefused):
        await fetch(f"http://page.example:{redirecting.port}/", resolve=Names(["127.0.0.1"]))

    assert (redirecting.visits, canary.visits) == (1, 0)


async def test_a_redirect_to_a_name_that_leads_inside_is_not_followed(
    canary: Canary, open_loopback: None, redirecting: Redirecting
) -> None:
    redirecting.target = f"http://other.example:{canary.port}/"

    with pytest.raises(AddressRefused):
        await fetch(
            f"http://page.example:{redirecting.port}/", resolve=Names(["127.0.0.1"], ["127.0.0.1", "::1"])
        )

    assert canary.visits == 0


async def test_redirects_are_followed_five_times(open_loopback: None, redirecting: Redirecting) -> None:
    redirecting.target = "/again"

    with pytest.raises(ToolError, match="more than 5 times"):
        await fetch(f"http://page.example:{redirecting.port}/", resolve=Names(["127.0.0.1"]))

    assert redirecting.visits == 6


async def test_a_guarded_client_follows_no_redirect_by_itself(
    canary: Canary, open_loopback: None, redirecting: Redirecting
) -> None:
    redirecting.target = f"http://127.0.0.1:{canary.port}/"

    async with guarded_client(Allowance(MAX_ANSWER), timeout=5, resolve=Names(["127.0.0.1"])) as client:
        response = await client.get(f"http://page.example:{redirecting.port}/")

    assert response.status_code == 302
    assert canary.visits == 0


async def test_no_proxy_is_used_whatever_the_environment_says(
    canary: Canary, open_loopback: None, monkeypatch: pytest.MonkeyPatch, redirecting: Redirecting
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    url = f"http://page.example:{redirecting.port}/"
    redirecting.status = 404

    with pytest.raises(ToolError, match="404"):
        await fetch(url, resolve=Names(["127.0.0.1"]))
    async with guarded_client(Allowance(MAX_ANSWER), timeout=5, resolve=Names(["127.0.0.1"])) as client:
        await client.get(url)

    assert (redirecting.visits, canary.visits) == (2, 0)


async def test_a_pinned_request_says_whom_it_means() -> None:
    asked: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(200)

    transport = pinned(answer, resolve=Names([PUBLIC]))
    async with httpx2.AsyncClient(transport=transport) as client:
        await client.get("https://page.example/x?y=1")

    assert str(asked[0].url) == f"https://{PUBLIC}/x?y=1"
    assert asked[0].headers["host"] == "page.example"
    assert asked[0].extensions["sni_hostname"] == "page.example"


async def test_the_next_address_is_tried_when_the_first_takes_no_connection() -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.host)
        if len(asked) == 1:
            raise httpx2.ConnectError("refused")
        return httpx2.Response(200)

    transport = pinned(answer, resolve=Names([PUBLIC, "8.8.8.8"]))
    async with httpx2.AsyncClient(transport=transport) as client:
        response = await client.get("https://page.example/")

    assert response.status_code == 200
    assert asked == [PUBLIC, "8.8.8.8"]


@pytest.mark.parametrize("media_type", ["application/json", "text/event-stream"])
async def test_an_answer_is_not_read_without_end(media_type: str) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"Content-Type": media_type}, content=endless())

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536

    async with httpx2.AsyncClient(transport=pinned(answer, resolve=Names([PUBLIC]))) as client:
        with pytest.raises(httpx2.StreamError, match="more than 4 MB at once"):
            await client.get("https://page.example/")


async def test_answers_without_end_are_not_read() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, content=short())

    async def short() -> AsyncIterator[bytes]:
        yield b"id: 1\n\n"

    async with httpx2.AsyncClient(transport=pinned(answer, resolve=Names([PUBLIC]))) as client:
        with pytest.raises(httpx2.StreamError, match="without being asked"):
            for _ in range(5000):
                await client.get("https://page.example/")


async def test_a_connection_to_one_host_is_not_used_for_another_at_the_same_address() -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.headers["host"])
        return httpx2.Response(200)

    async with httpx2.AsyncClient(transport=pinned(answer, resolve=Names([PUBLIC]))) as client:
        await client.get("https://page.example/")
        await client.get("https://page.example/again")
        with pytest.raises(AddressRefused, match="not used for another"):
            await client.get("https://other.example/")

    assert asked == ["page.example", "page.example"]


async def test_a_guarded_client_keeps_no_cookies_and_speaks_no_later_http(open_loopback: None) -> None:
    heard: list[tuple[str, list[bytes]]] = []

    async def bakery(scope: Any, receive: Any, send: Any) -> None:
        names = [name for name, _ in scope["headers"]]
        heard.append((scope["http_version"], names))
        headers = [(b"set-cookie", b"a=b"), (b"set-cookie", b"c=d; Domain=example")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async with (
        served(bakery) as port,
        guarded_client(Allowance(MAX_ANSWER), timeout=5, resolve=Names(["127.0.0.1"])) as client,
    ):
        for _ in range(2):
            await client.get(f"http://page.example:{port}/")
        kept = [*client.cookies.jar]

    assert kept == []
    assert [version for version, _ in heard] == ["1.1", "1.1"]
    assert all(b"cookie" not in names for _, names in heard)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 4_000_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1_000_000 + b"\r\n",
        b"HTTP/1.1 200 " + b"O" * 4_000_000 + b"\r\n\r\n",
    ],
    ids=["long", "many", "status"],
)
async def test_a_head_without_end_is_not_read(head: bytes, open_loopback: None) -> None:
    async def bomb(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            writer.write(head)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(bomb, "127.0.0.1", 0)
    async with server:
        url = f"http://page.example:{server.sockets[0].getsockname()[1]}/"
        async with guarded_client(Allowance(MAX_ANSWER), timeout=5, resolve=Names(["127.0.0.1"])) as client:
            with pytest.raises(httpx2.HTTPError):
                await client.get(url)
        with pytest.raises(ToolUnavailable):
            await fetch(url, resolve=Names(["127.0.0.1"]))


async def test_a_packed_answer_is_not_unpacked() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"Content-Encoding": "gzip"}, content=b"\x1f\x8b")

    transport = pinned(answer, resolve=Names([PUBLIC]))
    async with httpx2.AsyncClient(transport=transport) as client:
        with pytest.raises(ToolUnavailable):
            await client.get("https://page.example/")


async def test_a_host_that_is_not_there_is_told() -> None:
    async def nobody(host: str, port: int) -> Sequence[str]:
        raise OSError("no such host")

    with pytest.raises(ToolUnavailable):
        await public_addresses("nobody.example", 443, resolve=nobody)
    with pytest.raises(ToolUnavailable):
        await public_addresses("nobody.example", 443, resolve=Names([]))


async def test_hosts_are_looked_up_apart_from_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    may_end, asked = threading.Event(), threading.Semaphore(0)
    whole = socket.getaddrinfo

    def slow(host: Any, *rest: Any, **named: Any) -> Any:
        if not str(host).endswith(".slow.example"):
            return whole(host, *rest, **named)
        asked.release()
        may_end.wait(30)
        raise OSError("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    lookups = [asyncio.create_task(public_addresses(f"{number}.slow.example", 443)) for number in range(200)]
    for _ in range(32):
        await asyncio.to_thread(asked.acquire, timeout=10)

    found = await asyncio.get_running_loop().getaddrinfo("localhost", 80)
    crowded = [lookup for lookup in lookups if lookup.done()]

    assert found
    assert not asked.acquire(blocking=False)
    assert len(crowded) == 200 - 32 - 128
    assert "too many names of hosts" in str(crowded[0].exception())
    may_end.set()
    outcomes = await asyncio.gather(*lookups, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {ToolUnavailable}


async def test_of_many_addresses_only_some_are_tried() -> None:
    many = [f"93.184.215.{number}" for number in range(1, 200)]

    assert await public_addresses("page.example", 443, resolve=Names(many)) == many[:8]
    with pytest.raises(AddressRefused):
        await public_addresses("page.example", 443, resolve=Names([*many, "10.0.0.1"]))


async def test_an_address_that_says_nothing_leaves_time_for_the_next() -> None:
    waited: list[float] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        waited.append(request.extensions["timeout"]["connect"])
        if len(waited) < 3:
            raise httpx2.ConnectTimeout("nobody there")
        return httpx2.Response(200)

    transport = pinned(answer, resolve=Names([PUBLIC, "8.8.8.8", "1.1.1.1"]))
    async with httpx2.AsyncClient(transport=transport, timeout=60) as client:
        response = await client.get("https://page.example/")

    assert response.status_code == 200
    assert waited == [2, 2, 60]


async def test_a_connection_is_not_waited_for_as_long_as_an_answer() -> None:
    async with guarded_client(Allowance(MAX_ANSWER), timeout=60) as client:
        assert (client.timeout.connect, client.timeout.read) == (5, 60)
