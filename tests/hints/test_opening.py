import pytest

from tertulia.errors import InvalidInput, MissingExtra
from tertulia.hints import Hints, open_hints, redis
from tertulia.hints.in_process import LocalHints
from tertulia.hints.postgresql import PostgreSQLHints
from tertulia.hints.redis import RedisHints
from tertulia.hints.sqlite import SQLiteHints


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nothing",
        "nats://host",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "redis://host:port/0",
        "redis://host?socket_timeout=long",
    ],
)
def test_url_that_names_nothing_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        open_hints(url)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory://", LocalHints),
        ("sqlite:///t.db", SQLiteHints),
        ("postgresql://u@h/d", PostgreSQLHints),
        ("postgres://u@h/d", PostgreSQLHints),
        ("postgresql+asyncpg://u@h/d", PostgreSQLHints),
        ("redis://h", RedisHints),
        ("rediss://h:1/2", RedisHints),
        ("valkey://h", RedisHints),
        ("valkeys://u:p@h/1", RedisHints),
    ],
)
def test_url_names_what_carries_the_hints(url: str, kind: type[Hints]) -> None:
    assert type(open_hints(url)) is kind


def test_missing_library_is_named_with_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis, "LIBRARY", "a_library_that_is_not_installed")

    with pytest.raises(MissingExtra, match=r"pip install tertulia\[redis\]"):
        open_hints("redis://localhost")
