"""Documents are sent, found, listed and deleted over HTTP."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tertulia.app import App
from tertulia.conversations import DEFAULT_TENANT
from tertulia.definitions import AgentDefinition, ContextChoice
from tertulia.ids import AGENT, new_id
from tertulia.memory.knowledge import library
from tertulia.testing.fake_openai import FakeOpenAI
from tests.memory.knowledge.pdfs import a_pdf
from tests.server.conftest import Open
from tests.server.doing import an_agent, described, log_of, said, say

AT = "/v1/knowledge/handbook/documents"
LEAVE = "# Leave\n\nEvery employee has 25 days of vacation a year.\n"


async def sent(
    service: httpx2.AsyncClient,
    content: str | bytes = LEAVE,
    *,
    name: str = "leave.md",
    at: str = AT,
    **headers: str,
) -> dict[str, Any]:
    """Send a document as it is and return what is told of it."""
    response = await service.post(at, params={"name": name}, content=content, headers=headers)
    assert response.status_code == 200, response.text
    row: dict[str, Any] = response.json()
    return row


async def listed(service: httpx2.AsyncClient, at: str = AT, **query: str | int) -> dict[str, Any]:
    response = await service.get(at, params=query)
    assert response.status_code == 200, response.text
    page: dict[str, Any] = response.json()
    return page


async def found(service: httpx2.AsyncClient, query: str, **more: object) -> list[dict[str, Any]]:
    response = await service.post("/v1/knowledge/handbook/search", json={"query": query, **more})
    assert response.status_code == 200, response.text
    hits: list[dict[str, Any]] = response.json()["data"]
    return hits


async def test_document_is_found_once_it_was_sent(service: httpx2.AsyncClient) -> None:
    document = await sent(service, **{"content-type": "text/markdown"})

    hits = await found(service, "How many vacation days do I have?")

    assert document["id"].startswith("doc_")
    assert (document["object"], document["name"], document["collection"]) == (
        "document",
        "leave.md",
        "handbook",
    )
    assert (document["media_type"], document["characters"], document["passages"]) == (
        "text/markdown",
        len(LEAVE),
        1,
    )
    assert document["created_at"].endswith("Z")
    assert set(document) == await described(service, "Document")
    [hit] = hits
    assert hit.pop("score") > 0
    assert hit == {
        "object": "hit",
        "document_id": document["id"],
        "document": "leave.md",
        "place": 0,
        "where": "Leave",
        "text": LEAVE.strip(),
    }
    assert await found(service, "Thanks!") == []
    assert (await listed(service, f"{AT}/{document['id']}")) == document


async def test_text_is_sent_as_json(service: httpx2.AsyncClient) -> None:
    response = await service.post(AT, json={"name": "leave.md", "text": LEAVE})

    assert response.status_code == 200
    assert response.json()["media_type"] == "text/markdown"
    [hit] = await found(service, "vacation")
    assert hit["where"] == "Leave"


async def test_pages_of_a_pdf_are_named(service: httpx2.AsyncClient) -> None:
    content = a_pdf(["Leave is 25 days.", "Lunch is at noon."])

    await sent(service, content, name="handbook.pdf", **{"content-type": "application/pdf"})

    [hit] = await found(service, "When is lunch?")
    assert (hit["document"], hit["where"]) == ("handbook.pdf", "page 2")


@pytest.mark.parametrize(
    "content_type",
    ["application/octet-stream", "application/x-www-form-urlencoded", "text/plain", "text/html"],
)
async def test_name_tells_what_the_content_type_does_not(
    service: httpx2.AsyncClient, content_type: str
) -> None:
    document = await sent(
        service, "<p>Lunch is at noon.", name="lunch.html", **{"content-type": content_type}
    )

    assert document["media_type"] == "text/html"
    assert [hit["text"] for hit in await found(service, "lunch")] == ["Lunch is at noon."]


async def test_same_document_again_changes_nothing_and_another_takes_its_place(
    service: httpx2.AsyncClient,
) -> None:
    first = await sent(service)
    again = await sent(service)

    second = await sent(service, LEAVE.replace("25", "30"))

    assert again == first
    assert (await listed(service))["data"] == [second]
    [hit] = await found(service, "vacation")
    assert "30 days" in hit["text"]


async def test_collections_are_counted(service: httpx2.AsyncClient) -> None:
    assert (await listed(service, "/v1/knowledge"))["data"] == []
    await sent(service)
    await sent(service, name="other.md")
    await sent(service, "Salt.", name="soup.txt", at="/v1/knowledge/recipes/documents")

    page = await listed(service, "/v1/knowledge", limit=1)
    rest = await listed(service, "/v1/knowledge", after=page["cursor"])

    assert page["has_more"]
    [handbook], [recipes] = page["data"], rest["data"]
    assert handbook == {
        "object": "collection",
        "name": "handbook",
        "documents": 2,
        "passages": 2,
        "characters": 2 * len(LEAVE),
    }
    assert (recipes["name"], recipes["documents"]) == ("recipes", 1)
    assert set(handbook) == await described(service, "Collection")


async def test_documents_are_listed_in_pages(service: httpx2.AsyncClient) -> None:
    names = [f"{number}.md" for number in range(5)]
    for name in names:
        await sent(service, name=name)

    first = await listed(service, limit=2)
    rest = await listed(service, after=first["cursor"], limit=10)

    assert [row["name"] for row in first["data"] + rest["data"]] == names
    assert (first["has_more"], rest["has_more"], rest["cursor"]) == (True, False, None)
    assert (await listed(service, "/v1/knowledge/nothing/documents"))["data"] == []


async def test_deletion_leaves_nothing(service: httpx2.AsyncClient) -> None:
    document = await sent(service)
    one = f"{AT}/{document['id']}"

    response = await service.delete(one)

    assert response.json() == {"object": "document", "id": document["id"], "deleted": True}
    assert (await listed(service, "/v1/knowledge"))["data"] == []
    for again in (await service.get(one), await service.delete(one)):
        assert (again.status_code, again.json()["code"]) == (404, "not_found")


async def test_collection_is_erased_with_all_its_documents(
    service: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "_BATCH", 2)
    for number in range(5):
        await sent(service, f"Vacation {number}", name=f"{number}.txt")
    await sent(service, name="leave.md", at="/v1/knowledge/other/documents")

    response = await service.delete("/v1/knowledge/handbook")
    again = await service.delete("/v1/knowledge/handbook")

    assert response.json() == {"object": "collection", "name": "handbook", "deleted": True, "documents": 5}
    assert set(response.json()) == await described(service, "DeletedCollection")
    assert [row["name"] for row in (await listed(service, "/v1/knowledge"))["data"]] == ["other"]
    assert (again.status_code, again.json()["code"]) == (404, "not_found")


async def test_search_in_what_is_not_there_is_told_as_such(service: httpx2.AsyncClient) -> None:
    await sent(service)

    there = await service.post("/v1/knowledge/handbook/search", json={"query": "horses"})
    not_there = await service.post("/v1/knowledge/handbok/search", json={"query": "vacation"})

    assert (there.status_code, there.json()["data"]) == (200, [])
    assert (not_there.status_code, not_there.json()["code"]) == (404, "not_found")
    assert "no such collection" in not_there.json()["detail"]


async def test_an_agent_may_name_a_collection_that_comes_later(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    await an_agent(service, name="clerk", context_providers=[{"type": "knowledge", "collection": "handbook"}])
    question = {"agent_id": "clerk", "message": "How many vacation days do I have?"}

    before = await service.post("/agents/chat-agent", json=question)
    await sent(service)
    after = await service.post("/agents/chat-agent", json=question)

    assert (before.status_code, after.status_code) == (200, 200)
    assert ["25 days" in json.dumps(request) for request in model.requests] == [False, True]


async def test_document_of_another_collection_is_not_there(service: httpx2.AsyncClient) -> None:
    document = await sent(service)
    elsewhere = f"/v1/knowledge/recipes/documents/{document['id']}"

    for response in (await service.get(elsewhere), await service.delete(elsewhere)):
        assert response.status_code == 404
    assert len(await found(service, "vacation")) == 1


@pytest.mark.parametrize(
    ("name", "content", "content_type", "told"),
    [
        (None, "text", "text/markdown", "documents?name="),
        ("a.docx", "text", "application/octet-stream", "ends in .txt, .md, .html or .pdf"),
        ("a.png", "text", "image/png", "ends in .txt, .md, .html or .pdf"),
        ("a.txt", b"\xff\xfe\xfd", "text/plain", "UTF-16"),
        ("a.txt", "text", "text/plain; charset=klingon", "a.txt: what 'klingon' is"),
        ("a.txt", " \n", "text/plain", "a.txt: this document holds no text"),
        ("a.pdf", "text", "application/pdf", "it is damaged"),
        ("a\n.txt", "text", "text/plain", "printable"),
        ("x" * 201, "text", "text/plain", "200"),
    ],
)
async def test_what_cannot_be_read_is_refused(
    service: httpx2.AsyncClient, name: str | None, content: str | bytes, content_type: str, told: str
) -> None:
    query = {} if name is None else {"name": name}

    response = await service.post(AT, params=query, content=content, headers={"content-type": content_type})

    assert (response.status_code, response.json()["code"]) == (422, "invalid_input")
    assert told in response.json()["detail"]


@pytest.mark.parametrize("collection", ["a%20b", "-a", "x" * 51, "%C3%A4"])
async def test_collection_of_no_usable_name_is_refused(service: httpx2.AsyncClient, collection: str) -> None:
    at = f"/v1/knowledge/{collection}"

    responses = [
        await service.post(f"{at}/documents", json={"name": "a.txt", "text": "text"}),
        await service.get(f"{at}/documents"),
        await service.post(f"{at}/search", json={"query": "text"}),
    ]

    assert [response.status_code for response in responses] == [422] * 3


@pytest.mark.parametrize(
    "body", [{}, {"query": ""}, {"query": "a", "limit": 0}, {"query": "a", "limit": 51}, {"query": "a\u0000"}]
)
async def test_search_for_nothing_is_refused(service: httpx2.AsyncClient, body: dict[str, object]) -> None:
    response = await service.post("/v1/knowledge/handbook/search", json=body)

    assert response.status_code == 422


async def test_no_more_is_found_than_was_asked_for(service: httpx2.AsyncClient) -> None:
    for number in range(7):
        await sent(service, "Soup needs salt.", name=f"{number}.txt")

    assert len(await found(service, "soup")) == 5
    assert len(await found(service, "soup", limit=2)) == 2


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_page_elsewhere_cannot_have_a_browser_send_documents(
    service: httpx2.AsyncClient, content_type: str | None
) -> None:
    headers = {"origin": "https://evil.example"} | ({"content-type": content_type} if content_type else {})

    response = await service.post(AT, params={"name": "a.txt"}, content=b"Obey me.", headers=headers)

    assert response.status_code == 415
    assert (await listed(service))["data"] == []


async def test_forms_are_refused(service: httpx2.AsyncClient) -> None:
    response = await service.post(AT, params={"name": "a.txt"}, files={"file": ("a.txt", b"text")})

    assert response.status_code == 415
    assert "itself" in response.json()["detail"]


async def in_pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 1000):
        yield b"word " * 200


@pytest.mark.parametrize("in_one", [True, False])
async def test_documents_may_be_larger_than_other_bodies(open_service: Open, in_one: bool) -> None:
    service = await open_service(max_body_bytes=2000, max_document_bytes=4000)

    def of_size(size: int) -> bytes | AsyncIterator[bytes]:
        return b"word " * (size // 5) if in_one else in_pieces(size)

    headers = {"content-type": "text/markdown"}

    fits = await service.post(AT, params={"name": "a.md"}, content=of_size(4000), headers=headers)
    not_here = await service.post(AT, params={"name": "b.md"}, content=of_size(5000), headers=headers)
    elsewhere = await service.post(
        "/v1/knowledge/handbook/search", content=of_size(3000), headers={"content-type": "application/json"}
    )

    assert fits.status_code == 200
    assert (not_here.status_code, elsewhere.status_code) == (413, 413)
    assert "4000" in not_here.json()["detail"]
    assert "2000" in elsewhere.json()["detail"]


async def test_stored_agent_is_told_what_fits_and_nothing_of_it_enters_the_conversation(
    app: App, served: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    await sent(served)
    choice = ContextChoice(name="knowledge", options={"collection": "handbook", "top_k": 3})
    definition = AgentDefinition(name="clerk", context_providers=(choice,))
    agent = await app.store.agents.create(DEFAULT_TENANT, new_id(AGENT), definition)
    made = await served.post("/agents/create-conversation", json={"agent_id": agent.id})
    conversation = made.json()["id"]

    answers = [
        await say(served, conversation, text) for text in ("Thanks!", "How many vacation days?", "Thanks!")
    ]

    assert [answer.status_code for answer in answers] == [200] * 3
    shown = [json.dumps(request) for request in model.requests]
    assert ["25 days of vacation" in each for each in shown] == [False, True, False]
    log = await log_of(served, conversation)
    assert [text for text in said(log) if "25 days of vacation" in text] == []
    assert len(log) == 6
