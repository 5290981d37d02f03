"""What operators and browsers ask first: is it alive, is it ready, what is it."""

from enum import Enum
from html import escape
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response
from starlette.responses import FileResponse, HTMLResponse

from tertulia.app import App
from tertulia.server.errors import answers, problem
from tertulia.server.lists import JSON, as_json
from tertulia.server.mounting import mounted_at
from tertulia.server.tutorial_forms import Greeting, Ready

_TAGS: Final[list[str | Enum]] = ["service"]
_HERE: Final = Path(__file__).parent
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing is loaded from elsewhere; Swagger UI sets style attributes, so inline style is let through."""
_STRICT_POLICY: Final = _POLICY.replace(" 'unsafe-inline'", "")

_FILES: Final = {
    "/home.css": ("pages/home.css", "text/css"),
    "/docs/start.js": ("pages/docs.js", "text/javascript"),
    "/docs/swagger-ui-bundle.js": ("vendor/swagger-ui-bundle.js", "text/javascript"),
    "/docs/swagger-ui.css": ("vendor/swagger-ui.css", "text/css"),
}
_HOME: Final = (_HERE / "pages/home.html").read_text(encoding="utf-8")
_DOCS: Final = (_HERE / "pages/docs.html").read_text(encoding="utf-8")


class Ops:
    """The routes for operators and browsers on one app."""

    def __init__(self, app: App) -> None:
        self._app = app

    def mount(self, router: APIRouter) -> None:
        """Add the routes."""
        add = router.add_api_route
        add("/", self.home, tags=_TAGS, responses=answers(Greeting))
        add("/livez", self.livez, tags=_TAGS, responses=answers(Greeting))
        add("/readyz", self.readyz, tags=_TAGS, responses=answers(Ready, 503))
        add("/docs", self.docs, include_in_schema=False)
        for path, (name, kind) in _FILES.items():
            add(path, _File(name, kind).get, include_in_schema=False)

    async def home(self, request: Request) -> Response:
        """Say what this is: a page to browsers, JSON to all others."""
        if "text/html" not in request.headers.get("accept", ""):
            greeting = {"message": "Tertulia: conversational agents that never lose the thread. See /docs."}
            return Response(as_json(greeting), headers={"vary": "accept"}, media_type=JSON)
        here = request.url.replace(path=mounted_at(request.scope), query="")
        page = _HOME.replace("{origin}", escape(str(here)))
        return HTMLResponse(page, headers=_page_headers(_STRICT_POLICY) | {"vary": "accept"})

    async def livez(self) -> Response:
        """Say that the process is alive."""
        return Response(as_json({"message": "alive"}), media_type=JSON)

    async def readyz(self) -> Response:
        """Say whether requests can be answered now: the database is there and at its newest form."""
        health = await self._app.health()
        if not health.ready:
            return problem(503, health.detail)
        return Response(as_json({"message": "ready", "store": health.detail}), media_type=JSON)

    async def docs(self) -> Response:
        """Show the interface, with forms to try it."""
        return HTMLResponse(_DOCS, headers=_page_headers(_POLICY))


class _File:
    """One file of this package, as it is."""

    def __init__(self, name: str, kind: str) -> None:
        self._path, self._kind = _HERE / name, kind

    async def get(self) -> Response:
        return FileResponse(self._path, media_type=self._kind, headers={"cache-control": "no-cache"})


def _page_headers(policy: str) -> dict[str, str]:
    return {"content-security-policy": policy, "cache-control": "no-cache"}
