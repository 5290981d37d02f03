"""``tertulia serve``: the service in this process, or in several."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from errno import EADDRINUSE
from types import FrameType
from typing import Final, Literal

import uvicorn
from fastapi import FastAPI
from typing_extensions import override
from uvicorn.supervisors import Multiprocess

from tertulia.app import App
from tertulia.cli.tuning import keep_buffers, settle
from tertulia.engine import Probe, unobserved
from tertulia.errors import InvalidInput
from tertulia.server import logs
from tertulia.server.factory import create_app
from tertulia.server.leaving import drained_when_asked, leave
from tertulia.settings import PREFIX, Settings, load_settings, misspelt

_LOG: Final = logging.getLogger(__name__)
_BACKLOG: Final = 2048
_TICK_SECONDS: Final = 0.1
_ASKED_TO_STOP: Final = frozenset({signal.SIGINT, signal.SIGTERM})


def serve(
    agents: Sequence[str] = (),
    *,
    host: str | None,
    port: int | None,
    workers: int,
    probe: Probe = unobserved,
) -> None:
    """Serve until asked to stop; ``probe`` watches the one process that there is without more workers."""
    settings = load_settings({"agents": ",".join(agents) or None, "host": host, "port": port})
    if workers > 1 and not settings.database_kind.startswith("postgres"):
        raise InvalidInput("several workers need a PostgreSQL database: set TERTULIA_DATABASE_URL")
    app = _app(settings, probe)
    app.check_model(None)
    _warn(misspelt(os.environ))
    listener = _listen(settings.host, settings.port)
    if workers == 1:
        _run(Server(app), listener)
        return
    asyncio.run(_try(app))
    # The workers read the settings anew.
    os.environ |= {
        f"{PREFIX}AGENTS": settings.agents,
        f"{PREFIX}HOST": settings.host,
        f"{PREFIX}PORT": str(settings.port),
    }
    config = _config(settings, "tertulia.cli.serve:application", workers=workers)
    _announce(app, [listener])
    Workers(config, sockets=[listener]).run()


def application() -> FastAPI:
    """Return the service as the environment describes it; for workers and other ASGI servers.

    It is drained as soon as its process is asked to stop: those servers tell it only when everybody
    has been answered, or their patience is over.
    """
    return create_app(_app(load_settings()), watch=drained_when_asked)


def _app(settings: Settings, probe: Probe = unobserved) -> App:
    settings.make_data_dir()
    logs.configure(settings.log_level)
    keep_buffers()
    return App(settings, notify=_tell, probe=probe)


async def _try(app: App) -> None:
    """Raise what would keep every worker from starting, once and here."""
    await app.store.open()
    await app.store.close()


def _warn(strange: Mapping[str, str | None]) -> None:
    for name, nearest in strange.items():
        logs.write(_LOG, logging.WARNING, "unknown setting", variable=name, nearest=nearest)


def _tell(line: str) -> None:
    logs.write(_LOG, logging.INFO, "model", note=line)


class Server(uvicorn.Server):
    """Starts an app and says where it listens as soon as it does; raises what keeps it from starting.

    That is why it does so itself: of an error in the lifespan protocol uvicorn keeps only the traceback.
    """

    def __init__(self, app: App) -> None:
        super().__init__(_config(app.settings, create_app(app), lifespan="off"))
        self._app = app
        self._told_by: int | None = None

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self._app.start()
        await super().startup(sockets)
        settle()
        _announce(self._app, sockets or ())

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._told_by = self._told_by or sig
        # A second signal forces, whichever it is.
        self.force_exit = self.should_exit
        super().handle_exit(sig, frame)

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        leave(self._app, self._told_by)
        await super().shutdown(sockets)
        stopping = asyncio.ensure_future(self._app.stop())
        while not (stopping.done() or self.force_exit):
            await asyncio.wait({stopping}, timeout=_TICK_SECONDS)
        if stopping.done():
            stopping.result()


class Workers(Multiprocess):
    """Several processes of the service; asked to stop a second time, it does not wait for them."""

    @override
    def terminate_all(self) -> None:
        # Else who connects now would wait for nobody.
        for listener in self.sockets:
            listener.close()
        super().terminate_all()

    @override
    def join_all(self) -> None:
        while any(worker.process.is_alive() for worker in self.processes):
            if not _ASKED_TO_STOP.isdisjoint(self.signal_queue):
                for worker in self.processes:
                    worker.kill()
            for worker in self.processes:
                worker.process.join(_TICK_SECONDS)


def _announce(app: App, listeners: Sequence[socket.socket]) -> None:
    settings = app.settings
    logs.write(
        _LOG,
        logging.INFO,
        "serving",
        address=", ".join(map(_address, listeners)),
        database=settings.database_kind,
        model=settings.default_model,
        **({"agents": ", ".join(app.served)} if app.served else {}),
    )


def _run(server: Server, listener: socket.socket) -> None:
    # Asked to stop by Ctrl-C, uvicorn stops in order and then raises this once more.
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def _config(
    settings: Settings, app: FastAPI | str, *, lifespan: Literal["on", "off"] = "on", workers: int = 1
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=workers,
        lifespan=lifespan,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host.strip("[]"), port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = (error.strerror or "it is no address of this machine").lower()
        advice = f"choose another --port or {PREFIX}PORT" if error.errno == EADDRINUSE else None
        told = "; ".join(filter(None, (reason, advice)))
        raise InvalidInput(f"cannot listen on {host}:{port}: {told}") from error
    listener.set_inheritable(True)
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
