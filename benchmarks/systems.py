"""The systems that are measured: the floor and ours, on each database."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from benchmarks import serving
from benchmarks.serving import Server
from benchmarks.storage import PostgreSQLStorage, SQLiteStorage, Storage

Database: TypeAlias = Literal["sqlite-normal", "sqlite-full", "postgresql"]
Kind: TypeAlias = Literal["floor", "cached floor", "tertulia"]

DATABASES: Final[tuple[Database, ...]] = ("sqlite-normal", "sqlite-full", "postgresql")
KINDS: Final[tuple[Kind, ...]] = ("floor", "cached floor", "tertulia")
EVERYTHING: Final = "10000000"
"""Tokens that a model is shown at most: the whole history, however long."""


@dataclass(frozen=True, slots=True)
class System:
    """Something that answers chat turns, on one database."""

    kind: Kind
    database: Database

    @contextmanager
    def serving(self, place: Path, *, model: str, url: str | None) -> Iterator[tuple[Server, Storage]]:
        """Run it with its files in ``place``, or on the PostgreSQL database of this URL."""
        path = place / "bench.db"
        database = url or f"sqlite:///{path}"
        storage = PostgreSQLStorage(url) if url else SQLiteStorage(path)
        synchronous = "FULL" if self.database == "sqlite-full" else "NORMAL"
        if self.kind == "tertulia":
            settings = tertulia_settings(place, model=model) | {
                "TERTULIA_DATABASE_URL": database,
                "TERTULIA_SQLITE_SYNCHRONOUS": synchronous,
            }
            upgrade(place, settings)
            command = [sys.executable, "-m", "tertulia", "serve", "--port", "{port}"]
        else:
            settings = {}
            options = {"model": model, "database": database, "synchronous": synchronous}
            options["prefix"] = "cached" if self.kind == "cached floor" else "rows"
            command = [sys.executable, "-m", "benchmarks.floor", "--port", "{port}"]
            command += [part for name, value in options.items() for part in (f"--{name}", value)]
        with serving.serving(command, place=place, settings=settings) as server:
            yield server, storage


def tertulia_settings(place: Path, *, model: str) -> dict[str, str]:
    """Return the settings of a server that asks this model; all else is as it is delivered."""
    return {
        "TERTULIA_DATA_DIR": str(place),
        "TERTULIA_MODEL": "openai-chat:fake-1",
        "TERTULIA_CONTEXT_TOKENS": EVERYTHING,
        "OPENAI_BASE_URL": f"{model}/v1",
        "OPENAI_API_KEY": "none",
    }


def upgrade(place: Path, settings: Mapping[str, str]) -> None:
    """Make the tables, as an operator does."""
    command = [sys.executable, "-m", "tertulia", "db", "upgrade"]
    environment = serving.environment(settings)
    subprocess.run(command, cwd=place, env=environment, check=True, stdout=subprocess.DEVNULL)
