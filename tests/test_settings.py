"""Settings are read from the environment, and what is wrong with them is told in one line."""

from pathlib import Path

import pytest

from tertulia.errors import InvalidInput
from tertulia.settings import (
    COMPATIBLE_MODEL,
    LOCAL_MODEL,
    OPENAI_MODEL,
    Settings,
    is_loopback,
    load_settings,
)


@pytest.fixture(autouse=True)
def _in_an_empty_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def test_nothing_needs_to_be_set(tmp_path: Path) -> None:
    settings = load_settings()

    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.database_url == f"sqlite:///{tmp_path}/data/tertulia.db"
    assert settings.database_kind == "sqlite"
    assert settings.default_model == LOCAL_MODEL


def test_arguments_go_before_variables_before_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "settings.env").write_text("TERTULIA_PORT=1\nTERTULIA_HOST=localhost\nTERTULIA_MODEL=a:b\n")
    monkeypatch.setenv("TERTULIA_PORT", "2")
    monkeypatch.setenv("TERTULIA_HOST", "127.0.0.2")
    monkeypatch.setenv("TERTULIA_MODEL", "")
    monkeypatch.delenv("TERTULIA_MODEL")

    settings = load_settings({"port": 3, "host": None}, env_file=str(tmp_path / "settings.env"))
    monkeypatch.setenv("TERTULIA_MODEL", "forget what the file has set")

    assert (settings.port, settings.host, settings.model) == (3, "127.0.0.2", "a:b")


def test_empty_variables_count_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERTULIA_PORT", "")
    monkeypatch.setenv("TERTULIA_DATABASE_URL", "")
    monkeypatch.setenv("TERTULIA_DATABASE_URL_FILE", "")

    settings = load_settings()

    assert settings.port == 8000
    assert settings.database_kind == "sqlite"


def test_settings_made_by_hand_ignore_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERTULIA_PORT", "1")
    monkeypatch.setenv("TERTULIA_MODEL", "a:b")

    settings = Settings(lease_seconds=20)

    assert (settings.port, settings.model, settings.lease_seconds) == (8000, None, 20)


def test_every_problem_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERTULIA_PORT", "70000")
    monkeypatch.setenv("TERTULIA_AUTH", "keys")

    with pytest.raises(InvalidInput, match=r"TERTULIA_PORT: .*; TERTULIA_AUTH: "):
        load_settings()


def test_a_key_chooses_the_default_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")

    assert load_settings().default_model == OPENAI_MODEL
    assert load_settings({"model": "scripted:echo"}).default_model == "scripted:echo"


def test_a_key_for_another_server_chooses_a_model_that_it_will_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")

    assert load_settings().default_model == COMPATIBLE_MODEL


def test_the_databases_url_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://me:secret@db/tertulia\n")
    monkeypatch.setenv("TERTULIA_DATABASE_URL_FILE", str(tmp_path / "url"))

    settings = load_settings()

    assert settings.database_url == "postgresql://me:secret@db/tertulia"
    assert settings.database_kind == "postgresql"


def test_an_argument_goes_before_a_secret_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://me:secret@db/tertulia\n")
    monkeypatch.setenv("TERTULIA_DATABASE_URL_FILE", str(tmp_path / "url"))

    assert load_settings({"database_url": "memory://"}).database_kind == "memory"


def test_a_secret_is_given_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TERTULIA_DATABASE_URL", "memory://")
    monkeypatch.setenv("TERTULIA_DATABASE_URL_FILE", str(tmp_path / "url"))

    with pytest.raises(InvalidInput, match="both set"):
        load_settings()


def test_a_secret_file_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TERTULIA_DATABASE_URL_FILE", str(tmp_path / "url"))

    with pytest.raises(InvalidInput, match="DATABASE_URL_FILE"):
        load_settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "secret"),
        ("PORT", "70000"),
        ("LEASE_SECONDS", "0"),
        ("MAX_BODY_BYTES", "-1"),
        ("LOG_LEVEL", "secret"),
        ("AUTH", "keys"),
        ("SQLITE_SYNCHRONOUS", "OFF"),
        ("HOST", "0.0.0.0"),  # noqa: S104 - what is refused
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(f"TERTULIA_{variable}", value)

    with pytest.raises(InvalidInput) as caught:
        load_settings()

    assert f"TERTULIA_{variable}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_other_addresses_are_listened_to_at_ones_own_risk() -> None:
    settings = load_settings({"host": "0.0.0.0", "auth": "none-at-my-own-risk"})  # noqa: S104 - what is tested

    assert settings.is_open


@pytest.mark.parametrize(
    ("host", "is_so"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("tertulia.localhost", True),
        ("0.0.0.0", False),  # noqa: S104 - what is tested
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("", False),
    ],
)
def test_loopback_is_told_from_the_rest(host: str, is_so: bool) -> None:
    assert is_loopback(host) is is_so


def test_the_data_directory_is_the_owners_alone(tmp_path: Path) -> None:
    Settings(data_dir=tmp_path / "here").make_data_dir()
    Settings(data_dir=tmp_path / "there", database_url="memory://").make_data_dir()

    assert (tmp_path / "here").stat().st_mode & 0o777 == 0o700
    assert not (tmp_path / "there").exists()
