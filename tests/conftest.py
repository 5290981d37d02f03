"""What all tests share: stores of every kind, and the rule that in CI no contract is skipped."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

import pytest
from hypothesis import HealthCheck, settings

from tertulia.stores import STORES, Store, open_store
from tertulia.stores.sql.schema import METADATA
from tests.postgres import PostgresServer

_NEVER_SKIPPED: Final = ("tests/contracts/", "tests/ui/")
_MIGRATED: Final = "migrated"
Times: TypeAlias = Callable[[int, int], int]
"""Chooses between a short number and a full one."""

settings.register_profile(
    "default", deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="take journeys at their full size")


@pytest.fixture
def times(request: pytest.FixtureRequest) -> Times:
    """How often a journey does something: the first number, or the second with ``--full``."""
    is_full = bool(request.config.getoption("--full"))
    return lambda short, full: full if is_full else short


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this test process, with a migrated database."""
    with PostgresServer() as server:
        server.make(_MIGRATED)
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """URL of a migrated and empty PostgreSQL database: always the same, emptied after each test.

    It is that of a plain program, so that all tests run under the policies of the tables.
    """
    yield postgres.url(_MIGRATED)
    postgres.empty(_MIGRATED, tables=[t for t in METADATA.tables if t != "tenants"])


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """URL of a fresh SQLite database."""
    return f"sqlite:///{tmp_path / 'tertulia.db'}"


@pytest.fixture(params=list(STORES))
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a fresh database, once for every kind of store."""
    fixture = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}.get(request.param)
    return request.getfixturevalue(fixture) if fixture else f"{request.param}://"


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    """An opened, empty store, once for every kind."""
    opened = open_store(store_url)
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()


class _NothingSkipped:
    """Fails the session when a contract or a test in the browser was skipped."""

    def __init__(self) -> None:
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and report.nodeid.startswith(_NEVER_SKIPPED) and not hasattr(report, "wasxfail"):
            self.skipped.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped and report.nodeid.startswith(_NEVER_SKIPPED):
            self.skipped.append(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.skipped:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for nodeid in self.skipped:
            terminalreporter.write_line(f"SKIPPED, which is a failure in CI: {nodeid}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("CI") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_NothingSkipped())
