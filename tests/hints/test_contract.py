"""Everything of ours that carries hints against the contract."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tertulia.hints import Hints, open_hints
from tertulia.testing.hints_contract import HintsContract


class TestInProcess(HintsContract):
    @pytest.fixture
    def connected(self) -> Callable[[], Hints]:
        return partial(open_hints, "memory://")

    @pytest.fixture
    def apart(self) -> Hints:
        return open_hints("memory://elsewhere")


class TestSQLite(HintsContract):
    @pytest.fixture
    def connected(self, sqlite_url: str) -> Callable[[], Hints]:
        return partial(open_hints, sqlite_url)

    @pytest.fixture
    def apart(self, tmp_path: Path) -> Hints:
        return open_hints(f"sqlite:///{tmp_path / 'other.db'}")


class TestPostgreSQL(HintsContract):
    @pytest.fixture
    def connected(self, postgres_url: str) -> Callable[[], Hints]:
        return partial(open_hints, postgres_url)

    @pytest.fixture
    def apart(self, postgres_url: str) -> Hints:
        return open_hints(urlsplit(postgres_url)._replace(path="/postgres").geturl())


class TestRedis(HintsContract):
    @pytest.fixture
    def connected(self, redis_url: str) -> Callable[[], Hints]:
        return partial(open_hints, redis_url)

    @pytest.fixture
    def apart(self, redis_url: str) -> Hints:
        return open_hints(urlsplit(redis_url)._replace(path="/1").geturl())


class TestValkey(TestRedis):
    @pytest.fixture
    def redis_url(self, redis_url: str) -> str:
        return redis_url.replace("redis:", "valkey:")
