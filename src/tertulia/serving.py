"""The service within another application: to be mounted, started and stopped with it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Final, Self

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from tertulia.app import App
from tertulia.errors import InvalidInput, Stopping
from tertulia.programs import Programs, Servable
from tertulia.server.errors import respond
from tertulia.server.factory import create_app
from tertulia.server.leaving import drained_when_asked
from tertulia.settings import Settings, load_settings

_NOT_STARTED: Final = (
    "Tertulia is not started here, or has stopped: start it with the application that it is mounted in, "
    "by FastAPI(lifespan=server.lifespan), or by `async with server:` in its own lifespan."
)


class Server:
    """The whole service as an ASGI application that another one mounts.

    ::

        tertulia = Server(agents=[chef])
        app = FastAPI(lifespan=tertulia.lifespan)
        app.mount("/chat", tertulia)

    An application with a lifespan of its own says ``async with tertulia:`` within it. Who is let in is up
    to the application around it: see ``TERTULIA_AUTH``. It can be started again when it has stopped.
    """

    def __init__(self, agents: Sequence[Servable] = (), *, settings: Settings | None = None) -> None:
        """Make a service that serves these agents beside those that are stored, and those in the settings.

        Without ``settings`` those of the environment count, as they are when it starts. Nothing is opened
        yet. Raises :class:`InvalidInput` for agents without a name, and for two of one name.
        """
        Programs(agents)
        self._agents, self._settings = tuple(agents), settings
        self._api: FastAPI | None = None
        self._open = AsyncExitStack()

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Serve as long as the application around it does: ``FastAPI(lifespan=server.lifespan)``."""
        async with self:
            yield

    async def __aenter__(self) -> Self:
        """Open the store and begin to work; raises what opening it raises."""
        if self._api is not None:
            raise InvalidInput("this server is started already: use its lifespan, or async with, once")
        settings = self._settings or load_settings()
        settings.make_data_dir()
        api = create_app(App(settings, agents=self._agents), watch=drained_when_asked)
        await self._open.enter_async_context(api.router.lifespan_context(api))
        self._api = api
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hand over what is under way, and let go of everything."""
        self._api = None
        await self._open.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if self._api is not None:
            await self._api(scope, receive, send)
        elif scope["type"] == "http":
            await respond(Stopping(_NOT_STARTED))(scope, receive, send)
        else:
            raise Stopping(_NOT_STARTED)
