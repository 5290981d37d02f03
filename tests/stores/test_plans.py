import sqlite3
from pathlib import Path

import pytest

from tertulia.stores.sql import (
    appending,
    claiming,
    conversations,
    dead,
    journal,
    placing,
    pruning,
    recording,
    runs,
    standing,
    states,
    stopping,
)
from tertulia.stores.sql.migrate import upgrade
from tertulia.stores.sql.statements import Statement

STATEMENTS = {
    "newest": conversations._newest(8),
    "page": conversations._LIST,
    "messages": conversations._AFTER,
    "recent": conversations._RECENT,
    "pending": conversations._PENDING,
    "lock": standing._LOCK,
    "lock both": standing._LOCK_BOTH,
    "first queued": placing._FIRST_QUEUED,
    "expired": claiming._expired(1),
    "orphaned": claiming._orphaned(1),
    "suspects": claiming._expired(1, suspects=True),
    "owners": dead.OF_RUNS.owners,
    "next run to prune": pruning._NEXT_RUN,
    "drop events": pruning._DROP_FRAMES,
    "runs": runs._PAGE,
    "waiting": runs._WAITING,
    "run": standing.GET_RUN,
    "asked": stopping._asked(8),
    "steps": journal._STEPS,
    "identity": journal._IDENTITY,
    "clear steps": journal._CLEAR,
    "record": recording._record(8),
    "frames": recording.FRAMES_AFTER,
    "messages by id": appending._where(8),
    "state": states._GET,
    "states": states._ALL,
    "change state": states._CHANGE,
    "hold": states._HOLD,
    "copy states": states._COPY,
    "drop views": states._views(8),
}
NO_TABLES = ("SCAN anon", "SCAN (", "SCAN told", "SCAN leases", "SCAN 8 CONSTANT ROWS")
"""What is read through is made of the statement's own parameters or results."""


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_of_a_turn_or_a_list_reads_a_table_through(name: str, tmp_path: Path) -> None:
    upgrade(f"sqlite:///{tmp_path / 't.db'}")

    steps = _plan(STATEMENTS[name], tmp_path / "t.db")

    read = [step for step in steps if step.startswith(("SCAN", "SEARCH")) and "subquery" not in step]
    indexed = [step for step in read if not step.startswith(NO_TABLES)]
    assert indexed
    for step in indexed:
        assert "INDEX uq_runs_holder" in step or "INDEX ix_runs_queued" in step or "=?" in step
        assert not step.endswith("PRIMARY KEY (tenant=?)")


def _plan(statement: Statement, path: Path) -> list[str]:
    ready = statement.sqlite
    raw = sqlite3.connect(path)
    rows = raw.execute(f"EXPLAIN QUERY PLAN {ready.sql}", [1] * len(ready.names)).fetchall()
    raw.close()
    return [str(row[3]) for row in rows]
