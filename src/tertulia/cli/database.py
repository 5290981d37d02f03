"""``tertulia db``: what an operator does to the database."""

from typing import Final

from rich.console import Console

from tertulia.registry import load
from tertulia.settings import load_settings

_MIGRATE: Final = "tertulia.stores.sql.migrate:upgrade"
_IN_MEMORY: Final = "memory"


def upgrade() -> None:
    """Bring the database to its newest form and say which that is."""
    settings = load_settings()
    console = Console(highlight=False)
    if settings.database_kind == _IN_MEMORY:
        console.print("Nothing to do: this installation keeps everything in memory.")
        return
    settings.make_data_dir()
    console.print(f"{settings.database_kind} database at revision {load(_MIGRATE)(settings.database_url)}")
