"""Puts the service together: an app in, an ASGI application out."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any, Final, TypeAlias

from fastapi import FastAPI
from fastapi.routing import APIRoute
from typing_extensions import override

from tertulia import __version__
from tertulia.app import App
from tertulia.server import errors
from tertulia.server.agents import Agents
from tertulia.server.conversations import Conversations
from tertulia.server.edge import Edge
from tertulia.server.forgiving import Forgiving
from tertulia.server.jobs import Jobs
from tertulia.server.knowledge import Knowledge
from tertulia.server.limits import Limits
from tertulia.server.ops import Ops
from tertulia.server.runs import Runs
from tertulia.server.tutorial import Tutorial

_ABOUT: Final = (
    "Conversational agents that never lose the thread: what was accepted is kept, in one order. "
    "Errors are RFC 9457 problem documents."
)


Watch: TypeAlias = Callable[[App], AbstractContextManager[None]]


def _unwatched(app: App) -> AbstractContextManager[None]:
    return nullcontext()


def create_app(app: App, *, watch: Watch = _unwatched) -> FastAPI:
    """Return the service on this app, which it starts and stops with itself.

    ``watch`` stands around the time in between: it may have the app drained before the server stops it.
    """

    @asynccontextmanager
    async def lifespan(api: FastAPI) -> AsyncIterator[None]:
        await app.start()
        try:
            with watch(app):
                yield
        finally:
            await app.stop()

    api = _Api(
        title="Tertulia",
        summary="Conversational agents that never lose the thread.",
        description=_ABOUT,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        generate_unique_id_function=_operation,
    )
    errors.install(api)
    # Straight onto the one router: an included one would match every request twice.
    Tutorial(app).mount(api.router)
    Runs(app).mount(api.router)
    Conversations(app).mount(api.router)
    Agents(app).mount(api.router)
    Knowledge(app).mount(api.router)
    Jobs(app).mount(api.router)
    Ops(app).mount(api.router)
    # The last one added stands outermost.
    settings = app.settings
    api.add_middleware(Forgiving)
    api.add_middleware(
        Limits,
        max_body_bytes=settings.max_body_bytes,
        max_document_bytes=settings.max_document_bytes,
        any_host=settings.is_open,
    )
    api.add_middleware(Edge)
    return api


class _Api(FastAPI):
    """Describes problem documents in one place."""

    @override
    def openapi(self) -> dict[str, Any]:
        described = super().openapi()
        described["components"]["schemas"]["Problem"] = errors.PROBLEM_SCHEMA
        return described


def _operation(route: APIRoute) -> str:
    return route.name
