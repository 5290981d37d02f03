"""A fake of Mem0's platform: keeps every message as a memory, and finds those with a word in common."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

KEY = "m0-key-for-tests"


@dataclass
class FakeMem0:
    """What the platform holds, what it was asked, and what it is to do wrong."""

    base_url: str = ""
    memories: list[dict[str, Any]] = field(default_factory=list)
    searches: list[dict[str, Any]] = field(default_factory=list)
    adds: list[dict[str, Any]] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)
    """Kinds of ids (``user_id``, …) for which searches fail, and ``add``."""
    answer: web.Response | None = None
    """Sent in place of every answer."""

    async def ping(self, request: web.Request) -> web.Response:
        return web.json_response({"user_email": "me@example.com", "org_id": "o", "project_id": "p"})

    async def add(self, request: web.Request) -> web.Response:
        if wrong := self._wrong(request, {"add"}):
            return wrong
        body = await request.json()
        self.adds.append(body)
        scopes = {key: body[key] for key in ("user_id", "agent_id", "app_id") if key in body}
        for message in body["messages"]:
            # Each kind of owner has a memory of its own, as on the platform.
            for scope in scopes.items():
                self.remember(message["content"], **dict([scope]))
        return web.json_response({"results": []})

    async def search(self, request: web.Request) -> web.Response:
        body = await request.json()
        if wrong := self._wrong(request, set(body["filters"])):
            return wrong
        self.searches.append(body)
        words = set(re.findall(r"\w+", body["query"].lower()))
        found = [
            {key: value for key, value in memory.items() if key != "scope"}
            for memory in self.memories
            if memory["scope"] == body["filters"]
            and (not words or words & set(re.findall(r"\w+", memory["memory"].lower())))
        ]
        return web.json_response({"results": found[: body["top_k"]]})

    def remember(self, text: str, *, ident: str | None = None, score: float = 0.5, **scope: str) -> None:
        """Keep a memory."""
        self.memories.append(
            {
                "id": ident or f"mem-{len(self.memories)}",
                "memory": text,
                "score": score,
                "created_at": "2026-03-04T05:06:07-08:00",
                "scope": scope,
            }
        )

    def _wrong(self, request: web.Request, kinds: set[str]) -> web.Response | None:
        if request.headers.get("Authorization") != f"Token {KEY}":
            return web.json_response({"detail": "no such key"}, status=401)
        if self.answer is not None:
            return self.answer
        if kinds & self.failing:
            return web.json_response({"detail": "the secret of the database is 4711"}, status=500)
        return None


@asynccontextmanager
async def running() -> AsyncIterator[FakeMem0]:
    """Serve a fake on a free port of the loopback address."""
    fake = FakeMem0()
    app = web.Application()
    app.router.add_get("/v1/ping/", fake.ping)
    app.router.add_post("/v3/memories/add/", fake.add)
    app.router.add_post("/v3/memories/search/", fake.search)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        await runner.cleanup()
