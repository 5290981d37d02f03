"""The embedded model's server: one process per host, started by its first user.

``python -m tertulia.llms.local_server --model FILE --directory DIRECTORY`` returns at once and
leaves a server behind, unless there is one already. The server goes when nobody has had the model
open for a while.
"""

import argparse
import importlib
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol, cast

from tertulia.llms.local_files import Endpoint, LocalFiles, Lock

WINDOW: Final = 2048
MAX_TOKENS: Final = 200
"""Of an answer, unless its prompt says otherwise."""
GRACE_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 2.0

# The small model's least bad settings for talking.
_TEMPERATURE: Final = 0.2
_REPEAT_PENALTY: Final = 1.08


class _Server(Protocol):
    """The library's server; it stops when it is let go of."""

    @property
    def listening_address(self) -> str:
        """Where it listens, as an address with a port."""
        ...


def main(arguments: Sequence[str] | None = None) -> None:
    """Leave a server behind, unless there is one already."""
    parser = argparse.ArgumentParser(description="Serve the embedded model to the processes of this host.")
    parser.add_argument("--model", type=Path, required=True, help="the model's GGUF file")
    parser.add_argument("--directory", type=Path, required=True, help="where its users look for it")
    parser.add_argument("--grace", type=float, default=GRACE_SECONDS, help="seconds to stay without users")
    given = parser.parse_args(arguments)
    files = LocalFiles(given.directory)
    with files.alive() as alive:
        if alive.take() and os.fork() == 0:
            # The lock belongs to both now, and stays with the one that lives on.
            _detach(files.log)
            _serve(files, given.model, given.grace)


def _detach(log: Path) -> None:
    """Leave the terminal and its signals, so that Ctrl-C in a program does not cut answers short."""
    os.setsid()
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDONLY)
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for number, target in ((0, nowhere), (1, written), (2, written)):
        os.dup2(target, number)


def _serve(files: LocalFiles, model: Path, grace: float) -> None:
    files.remove_endpoint()
    key = secrets.token_hex(16)
    server = _start(model, key)
    files.write(Endpoint(pid=os.getpid(), url=server.listening_address, key=key))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with files.users() as users:
        try:
            wait_until_unused(users, grace=grace)
        finally:
            # Still under the users' lock: whoever comes now finds no endpoint and starts anew.
            files.remove_endpoint()
    # Without the library's own goodbye, which may wait for connections that are kept open.
    os._exit(0)


def wait_until_unused(
    users: Lock,
    *,
    grace: float,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Return, holding the lock, once nobody has shared it at any look for ``grace`` seconds."""
    last_seen = clock()
    while True:
        if not users.take():
            last_seen = clock()
        elif clock() - last_seen >= grace:
            return
        else:
            users.let_go()
        pause(min(_LOOK_SECONDS, grace))


def _start(model: Path, key: str) -> _Server:
    """Load the model and listen on a free port of the loopback address."""
    library = importlib.import_module("xllamacpp")
    params = library.CommonParams()
    params.model.path = str(model)
    params.model_alias = {model.stem}
    # The window is shared out among slots: one slot, and requests that come together wait in line.
    params.n_ctx, params.n_parallel = WINDOW, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = max(1, (os.cpu_count() or 2) - 1)
    params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, [key]
    params.ui = params.endpoint_slots = False
    params.cors_origins = ""
    params.verbosity = -1
    params.cache_ram_mib = 64
    params.n_predict = MAX_TOKENS
    params.sampling.temp, params.sampling.penalty_repeat = _TEMPERATURE, _REPEAT_PENALTY
    return cast("_Server", library.Server(params))


if __name__ == "__main__":
    main()
