"""What stands around every request: limits, headers, errors that nobody expected."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeAlias

import httpx2
import pytest
from fastapi import Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Message

from tertulia import errors
from tertulia.app import App
from tertulia.server import bodies
from tertulia.server.edge import note
from tertulia.server.errors import STATUSES, TUTORIAL_STATUSES, respond
from tertulia.server.factory import create_app
from tertulia.settings import Settings
from tests.server.conftest import Open

JSON = {"content-type": "application/json"}


def every(family: type[errors.TertuliaError]) -> Iterator[type[errors.TertuliaError]]:
    yield family
    for child in family.__subclasses__():
        yield from every(child)


async def in_pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 1000):
        yield b" " * 1000


@pytest.mark.parametrize("kind", list(every(errors.TertuliaError)), ids=lambda kind: kind.code)
def test_every_error_has_its_status_and_its_words(kind: type[errors.TertuliaError]) -> None:
    response = respond(kind("what is wrong").in_run("run_1"))

    assert 400 <= response.status_code < 600
    assert response.headers["x-should-retry"] == "false"
    for told in (
        f'"code":"{kind.code}"',
        '"detail":"what is wrong. The message is kept',
        '"run_id":"run_1"',
        '"title":"',
    ):
        assert told in bytes(response.body).decode()


@pytest.mark.parametrize(
    ("error", "status", "on_tutorial"),
    [
        (errors.UnknownModel(), 422, 422),
        (errors.UnknownTool(), 422, 422),
        (errors.AddressRefused(), 422, 422),
        (errors.NotFound(), 404, 404),
        (errors.ConversationMovedOn(), 409, 409),
        (errors.ConversationClosed(), 409, 409),
        (errors.HeadMoved(), 412, 412),
        (errors.IdempotencyMismatch(), 422, 422),
        (errors.ModelBusy(), 503, 502),
        (errors.ModelTimeout(), 504, 504),
        (errors.ModelRefused(), 502, 502),
        (errors.ContextTooLong(), 422, 422),
        (errors.AnswerGone(), 502, 502),
        (errors.ToolError(), 502, 502),
        (errors.ToolUnavailable(), 502, 502),
        (errors.BudgetExceeded(), 429, 429),
        (errors.ShapeMismatch(), 502, 502),
        (errors.StoreBusy(), 503, 503),
        (errors.StoreUnavailable(), 503, 503),
        (errors.OutcomeUnknown(), 503, 503),
        (errors.LeaseLost(), 500, 500),
        (errors.RunCancelled(), 409, 409),
        (errors.RunGivenUp(), 500, 500),
        (errors.NeedsAttention(), 409, 409),
        (errors.UnknownOutcome(), 409, 409),
        (errors.NotWaiting(), 409, 409),
        (errors.VersionMoved(), 409, 409),
        (errors.Stopping(), 503, 503),
        (errors.MissingExtra(), 503, 503),
    ],
    ids=lambda value: value.code if isinstance(value, errors.TertuliaError) else str(value),
)
def test_the_nearest_family_decides(error: errors.TertuliaError, status: int, on_tutorial: int) -> None:
    assert respond(error, statuses=STATUSES).status_code == status
    assert respond(error, statuses=TUTORIAL_STATUSES).status_code == on_tutorial


def test_who_is_busy_says_when_to_come_back() -> None:
    assert respond(errors.StoreBusy()).headers["retry-after"] == "1"
    assert respond(errors.StoreUnavailable()).headers["retry-after"] == "2"
    assert respond(errors.Stopping()).headers["retry-after"] == "5"
    assert respond(errors.ModelBusy(retry_after=2.2)).headers["retry-after"] == "3"
    assert "retry-after" not in respond(errors.ModelRefused()).headers


def test_who_was_accepted_without_a_key_is_not_to_ask_again_by_itself() -> None:
    response = respond(errors.ModelBusy(retry_after=2.2).in_run("run_1"))

    assert response.headers["x-should-retry"] == "false"
    assert "retry-after" not in response.headers
    assert "said twice" in detail_of(response)


def test_who_was_accepted_with_a_key_may_ask_again() -> None:
    busy = respond(errors.ModelBusy(retry_after=2.2).in_run("run_1"), key="k")
    refused = respond(errors.ModelRefused("It will not.").in_run("run_1"), key="k")

    assert busy.headers["retry-after"] == "3"
    assert busy.headers["x-should-retry"] == "false"
    assert refused.headers["x-should-retry"] == "false"
    assert detail_of(refused) == (
        "It will not. The message is kept; the same request with the same Idempotency-Key asks again."
    )


@pytest.mark.parametrize("error", [errors.BudgetExceeded(), errors.BudgetExceeded().in_run("run_1")])
def test_who_has_used_up_what_is_allowed_is_not_to_ask_again_by_itself(error: errors.TertuliaError) -> None:
    response = respond(error, key="k")

    assert response.headers["x-should-retry"] == "false"
    assert "retry-after" not in response.headers


def test_who_may_have_been_accepted_is_not_to_ask_again_by_itself() -> None:
    plain, keyed = respond(errors.OutcomeUnknown()), respond(errors.OutcomeUnknown(), key="k")

    for response in plain, keyed:
        assert response.headers["x-should-retry"] == "false"
        assert "only with the Idempotency-Key that it had" in detail_of(response)
    assert "retry-after" not in plain.headers
    assert int(keyed.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (errors.ConversationMovedOn(), "new Idempotency-Key"),
        (errors.ConversationClosed(), "POST /v1/conversations/{id}/reopen"),
        (
            errors.ConversationClosed().in_run("run_1"),
            "{id}/reopen opens it again; then POST /v1/runs/run_1/retry",
        ),
        (errors.BudgetExceeded().in_run("run_1"), "POST /v1/runs/run_1/retry"),
        (errors.IdempotencyMismatch(), "new key"),
        (errors.ContextTooLong("send less").in_run("run_1"), "The message is kept"),
        (errors.StoreBusy().in_run("run_1"), "will be answered"),
        (errors.Stopping().in_run("run_1"), "will be answered"),
        (errors.ModelRefused().in_run("run_1"), "POST /v1/runs/run_1/retry"),
        (errors.UnknownOutcome().in_run("run_1"), "POST /v1/runs/run_1/decide"),
        (errors.RunCancelled().in_run("run_1"), "new Idempotency-Key"),
        (errors.NotWaiting(), "GET /v1/runs/"),
    ],
)
def test_an_error_says_what_to_do_next(error: errors.TertuliaError, told: str) -> None:
    assert told in detail_of(respond(error))


def detail_of(response: Response) -> str:
    return str(json.loads(bytes(response.body))["detail"])


@pytest.mark.parametrize("content", [b" " * 3000, in_pieces(3000)], ids=["with length", "in pieces"])
async def test_a_large_body_is_refused(open_service: Open, content: bytes | AsyncIterator[bytes]) -> None:
    service = await open_service(max_body_bytes=2000)

    response = await service.post("/agents/chat-agent", content=content, headers=JSON)

    assert response.status_code == 413
    assert response.headers["content-type"] == "application/problem+json"
    assert "2000" in response.json()["detail"]


@pytest.mark.parametrize("content", [b" " * 2000, in_pieces(2000)], ids=["with length", "in pieces"])
async def test_a_body_that_just_fits_is_read(
    open_service: Open, content: bytes | AsyncIterator[bytes]
) -> None:
    service = await open_service(max_body_bytes=2000)

    response = await service.post("/agents/chat-agent", content=content, headers=JSON)

    assert response.status_code == 422


async def test_a_body_that_dribbles_in_is_not_waited_for(
    service: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "_BODY_SECONDS", 0.01)

    async def dribbling() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    response = await service.post("/agents/chat-agent", content=dribbling(), headers=JSON)

    assert (response.status_code, response.json()["code"]) == (408, "request_timeout")
    assert response.headers["connection"] == "close"


async def test_who_hangs_up_while_sending_is_no_fault_of_ours(log: Callable[[], str]) -> None:
    api = create_app(App(Settings(database_url="memory://")))
    events: list[Message] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"9")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/agents/chat-agent",
        "query_string": b"",
        "headers": headers,
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return events.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await api(scope, receive, send)

    [line] = [json.loads(line) for line in log().splitlines()]
    assert (line["event"], line["level"], line["status"]) == ("request", "info", 499)
    assert sent == []


async def test_a_request_names_one_host(service: httpx2.AsyncClient) -> None:
    headers = [("host", "localhost"), ("host", "evil.example")]

    assert (await service.get("/livez", headers=headers)).status_code == 400


async def test_a_slash_too_much_is_logged_as_the_route_that_answered(
    service: httpx2.AsyncClient, log: Callable[[], str]
) -> None:
    await service.head("/agents/get-agents/")

    [line] = [line for line in map(json.loads, log().splitlines()) if line["event"] == "request"]
    assert (line["method"], line["route"], line["status"]) == ("HEAD", "/agents/get-agents", 200)


async def test_compressed_bodies_are_refused(service: httpx2.AsyncClient) -> None:
    headers = JSON | {"content-encoding": "gzip"}

    response = await service.post("/agents/chat-agent", content=b"x", headers=headers)

    assert response.status_code == 415


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", ""]
)
async def test_requests_for_other_hosts_are_refused(service: httpx2.AsyncClient, host: str) -> None:
    response = await service.get("/agents/get-agents", headers={"host": host})

    assert response.status_code == 421


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8000",
        "localhost",
        "[::1]:8000",
        "app.localhost:80",
        "0.0.0.0:8000",  # what the tutorial's own client asks for
        "[::]:8000",
    ],
)
async def test_requests_for_this_machine_are_answered(service: httpx2.AsyncClient, host: str) -> None:
    assert (await service.get("/agents/get-agents", headers={"host": host})).status_code == 200


async def test_who_takes_the_risk_is_asked_under_any_name(open_service: Open) -> None:
    service = await open_service(auth="none-at-my-own-risk", host="0.0.0.0")  # noqa: S104 - what is tested

    assert (await service.get("/livez", headers={"host": "chat.example"})).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/agents/get-agents", "/nowhere"])
async def test_every_response_is_hardened(service: httpx2.AsyncClient, path: str) -> None:
    headers = (await service.get(path, headers={"accept": "text/html"})).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


async def test_the_routers_errors_are_problems_too(service: httpx2.AsyncClient) -> None:
    response = await service.delete("/agents/get-agents")

    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert response.headers["allow"] == "GET"
    assert response.headers["content-type"] == "application/problem+json"


async def test_the_unexpected_shows_nothing_and_is_found_in_the_log(
    log: Callable[[], str],
) -> None:
    api = create_app(App(Settings(database_url="memory://")))

    async def broken(request: Request) -> None:
        raise ZeroDivisionError("a secret")

    api.add_api_route("/broken", broken)
    transport = httpx2.ASGITransport(api)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        response = await client.get("/broken")

    written = log()
    assert response.status_code == 500
    assert response.json()["error_id"] in written
    assert "ZeroDivisionError" in written
    assert "test_edge.py" in written
    assert "secret" not in written + response.text


Stuck: TypeAlias = Callable[[Request], Awaitable[Response]]


async def _cancelled(stuck: Stuck, *, method: str = "GET") -> tuple[list[Message], asyncio.Task[None]]:
    """Cancel a request, as a server that has to stop does; return what it was answered, and its task."""
    api, reached = create_app(App(Settings(database_url="memory://"))), asyncio.Event()

    async def route(request: Request) -> Response:
        reached.set()
        return await stuck(request)

    api.add_api_route("/stuck", route, methods=[method])
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("not reached")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": "/stuck",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }
    task = asyncio.ensure_future(api(scope, receive, send))
    await reached.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    return sent, task


async def _for_ever(_request: Request) -> Response:
    await asyncio.Event().wait()
    raise AssertionError("not reached")


def _answer(sent: list[Message]) -> tuple[int, dict[bytes, bytes], dict[str, object]]:
    """Return status, headers and problem of what was answered."""
    start, *body = sent
    content = b"".join(message.get("body", b"") for message in body)
    return start["status"], dict(start["headers"]), json.loads(content)


@pytest.mark.parametrize(("method", "should_retry"), [("GET", None), ("POST", b"false")])
async def test_a_request_that_a_stop_cuts_short_is_told_so(
    log: Callable[[], str], method: str, should_retry: bytes | None
) -> None:
    sent, task = await _cancelled(_for_ever, method=method)

    status, headers, problem = _answer(sent)
    [line] = [line for line in map(json.loads, log().splitlines()) if line["event"] == "request"]
    assert (status, problem["code"], line["status"]) == (503, "stopping", 503)
    assert headers.get(b"x-should-retry") == should_retry
    assert headers[b"retry-after"] == b"5"
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert not task.cancelled()


async def test_a_request_with_a_run_that_a_stop_cuts_short_names_its_run() -> None:
    async def stuck(request: Request) -> Response:
        note(request.scope, run="run_1")
        return await _for_ever(request)

    sent, _ = await _cancelled(stuck)

    status, headers, problem = _answer(sent)
    assert (status, problem["code"], problem["run_id"]) == (503, "stopping", "run_1")
    assert "will be answered" in str(problem["detail"])
    assert headers[b"x-should-retry"] == b"false"


async def test_a_response_that_has_begun_is_cut_by_a_stop() -> None:
    async def stuck(_request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"a"
            await asyncio.Event().wait()

        return StreamingResponse(pieces())

    sent, task = await _cancelled(stuck)

    assert task.cancelled()
    assert [message["status"] for message in sent if "status" in message] == [200]


async def test_a_request_that_waited_for_something_cancelled_is_a_surprise() -> None:
    api = create_app(App(Settings(database_url="memory://")))

    async def broken(_request: Request) -> Response:
        gone: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        gone.cancel()
        return await gone

    api.add_api_route("/broken", broken)
    transport = httpx2.ASGITransport(api)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        response = await client.get("/broken")

    assert (response.status_code, "error_id" in response.json()) == (500, True)
