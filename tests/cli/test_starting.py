"""What keeps a command from starting is told in one line that says what to do."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import tertulia
from tertulia.errors import InvalidInput, StoreUnavailable
from tertulia.settings import misspelt
from tertulia.stores import open_store
from tertulia.stores.sql.migrate import HEAD, upgrade
from tests.postgres import OWNER, PostgresServer

COMMANDS = {"serve": ["serve", "--port", "0"], "chat": ["chat"], "upgrade": ["db", "upgrade"]}
NOBODY_THERE = "postgresql://nobody:secret@127.0.0.1:1/nothing"


def run(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the program in a directory of its own, until it ends by itself."""
    usual = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(tertulia.__file__).parents[1]),
        "TERTULIA_MODEL": "scripted:echo",
    }
    return subprocess.run(
        [sys.executable, "-m", "tertulia", *arguments],
        cwd=cwd,
        env=usual | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def junk(path: Path) -> None:
    path.write_bytes(b"no database at all " * 500)


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE agents (name TEXT)")


def of_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript(
            "CREATE TABLE alembic_version (version_num TEXT); CREATE TABLE tenants (id TEXT);"
            "INSERT INTO alembic_version VALUES ('3f2a9c')"
        )


def newer(path: Path) -> None:
    upgrade(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")


def of_a_directory(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (junk, "is no SQLite database: choose another TERTULIA_DATABASE_URL"),
        (foreign, "not a Tertulia database: choose another TERTULIA_DATABASE_URL"),
        (of_another_program, "not a Tertulia database: choose another TERTULIA_DATABASE_URL"),
        (newer, f"made by a newer Tertulia (migration 9999, this one knows {HEAD}): update Tertulia"),
        (of_a_directory, "cannot be opened: see to the permissions"),
    ],
)
async def test_a_file_that_is_not_ours_is_left_alone(
    tmp_path: Path, made: Callable[[Path], None], told: str
) -> None:
    path = tmp_path / "some.db"
    made(path)
    before = path.read_bytes() if path.is_file() else b""

    with pytest.raises(StoreUnavailable) as upgrading:
        upgrade(f"sqlite:///{path}")
    with pytest.raises(StoreUnavailable) as opening:
        await open_store(f"sqlite:///{path}").open()

    assert told in str(upgrading.value)
    assert str(opening.value) == str(upgrading.value)
    assert (path.read_bytes() if path.is_file() else b"") == before


@pytest.mark.parametrize("port", ["many", "0", "65536", "-1", "99999999999999999999", "", "ss@word:x"])
def test_a_port_that_cannot_be_is_refused(port: str) -> None:
    url = f"postgresql://me@host:{port}/database"

    with pytest.raises(InvalidInput, match="port"):
        upgrade(url)
    with pytest.raises(InvalidInput, match="port"):
        open_store(url)


@pytest.mark.parametrize(
    "hosts", ["", "host", "[::1]:5432", "[::1]", "one:1,two:2,three", "me:pa%3Ass@host:1"]
)
def test_all_usual_forms_of_urls_will_do(hosts: str) -> None:
    open_store(f"postgresql://{hosts}/database?host=/tmp/socket:dir")


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        ("CREATE TABLE agents (name text)", "not a Tertulia database"),
        (
            "CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('9999')",
            "newer",
        ),
        (
            "CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('3fa')",
            "not a",
        ),
        ("CREATE VIEW agents AS SELECT 1 AS one", "cannot be migrated: "),
    ],
)
def test_a_postgresql_database_that_is_not_ours_is_left_alone(
    postgres: PostgresServer, statements: str, told: str
) -> None:
    name = postgres.fresh(template="template0")
    postgres.execute(statements, database=name, role=OWNER)

    with pytest.raises(StoreUnavailable) as caught:
        upgrade(postgres.owner_url(name))
    postgres.drop(name)

    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_postgresql_database_that_is_shared_with_others_will_do(postgres: PostgresServer) -> None:
    name = postgres.fresh(template="template0")
    postgres.execute("CREATE TABLE somebody_elses (name text)", database=name)

    assert upgrade(postgres.owner_url(name)) == HEAD
    postgres.drop(name)


def test_a_postgresql_database_that_is_not_there_is_told(postgres: PostgresServer) -> None:
    with pytest.raises(StoreUnavailable, match='"nowhere" does not exist'):
        upgrade(postgres.owner_url("nowhere"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_database_that_is_down_is_told_in_one_line(tmp_path: Path, command: str) -> None:
    done = run(*COMMANDS[command], cwd=tmp_path, TERTULIA_DATABASE_URL=NOBODY_THERE)

    assert done.returncode == 1
    assert done.stderr.startswith("tertulia: the database cannot be reached")
    assert len(done.stderr.splitlines()) == 1
    assert "secret" not in done.stderr


def test_a_database_that_is_down_is_told_once_for_all_workers(tmp_path: Path) -> None:
    done = run(*COMMANDS["serve"], "--workers", "2", cwd=tmp_path, TERTULIA_DATABASE_URL=NOBODY_THERE)

    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_of_settings_that_is_no_text_is_told_in_one_line(tmp_path: Path, command: str) -> None:
    (tmp_path / ".env").write_bytes(b"TERTULIA_MODEL=\xff\xfe")

    done = run(*COMMANDS[command], cwd=tmp_path)

    assert (done.returncode, done.stderr) == (
        2,
        "tertulia: the file .env is no UTF-8 text; save it as UTF-8\n",
    )


@pytest.mark.parametrize("command", ["serve", "chat"])
def test_a_model_that_cannot_be_is_told_before_anyone_asks_it(tmp_path: Path, command: str) -> None:
    done = run(*COMMANDS[command], cwd=tmp_path, TERTULIA_MODEL="opneai-chat:gpt")

    assert done.returncode == 2
    assert "opneai-chat:gpt" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_port_in_use_says_how_to_choose_another(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("serve", "--port", str(taken.getsockname()[1]), cwd=tmp_path)

    assert done.returncode == 2
    assert "--port or TERTULIA_PORT" in done.stderr


def test_a_misspelt_setting_is_noticed(tmp_path: Path) -> None:
    done = run("chat", cwd=tmp_path, TERTULIA_MODLE="local", TERTULIA_DATABASE_URL="memory://")

    assert done.returncode == 0
    assert done.stderr == "TERTULIA_MODLE is no setting; did you mean TERTULIA_MODEL?\n"


def test_only_what_looks_like_a_setting_is_looked_at() -> None:
    names = ["PATH", "TERTULIA_PROT", "TERTULIA_DATABASE_URL_FILE", "TERTULIA_RUNTIME_DIR", "TERTULIA_XYZZY"]

    assert misspelt(names) == {"TERTULIA_PROT": "TERTULIA_PORT", "TERTULIA_XYZZY": None}


@pytest.mark.skipif(shutil.which("stat") is None, reason="needs a POSIX system")
async def test_the_database_is_its_owners_alone(tmp_path: Path) -> None:
    opened, upgraded = tmp_path / "a" / "opened.db", tmp_path / "b" / "upgraded%20.db"

    store = open_store(f"sqlite:///{opened}")
    await store.open()
    upgrade(f"sqlite:///{upgraded}")

    modes = permissions_in(tmp_path)
    await store.close()
    assert set(modes.values()) == {0o600}
    assert {"opened.db", "opened.db-wal", "upgraded .db"} <= set(modes)


def permissions_in(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.glob("*/*")}
