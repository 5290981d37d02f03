"""Runs of several turns, as group chats have them, survive a death at any point between the turns."""

import asyncio
import os
import sys
from collections import Counter
from pathlib import Path

import tertulia
from tertulia.stores import open_store
from tertulia.testing.builders import a_conversation, a_submission
from tertulia.testing.crashing import KILLED
from tertulia.testing.history import Witness, check
from tertulia.testing.reading import read_history
from tests.journeys.turns import TURNS

_ROOT = Path(__file__).parents[2]
_POINTS = ("commit.before", "commit.after", "journal.before", "journal.after", "end.before")
_DEATHS = [(point, passing) for passing in (1, 2) for point in _POINTS]
"""Of the other points servers die in storms."""
_RUNS = 5


async def test_turns_are_kept_once_whatever_happens_between_them(database_url: str, tmp_path: Path) -> None:
    effects = tmp_path / "effects"
    await _ask(database_url)

    codes = [await _carry_out(database_url, effects, death) for death in _DEATHS]
    codes.append(await _carry_out(database_url, effects, None))
    history = await read_history(database_url)

    assert codes == [KILLED] * len(_DEATHS) + [0]
    assert check(history, Witness(is_quiet=True)) == []
    assert [each.text for each in history.messages] == [
        text for i in range(_RUNS) for text in (f"U{i}", *(f"U{i}.{n}" for n in range(1, TURNS + 1)))
    ]
    done = Counter(effects.read_text().splitlines())
    assert len(done) == _RUNS * TURNS * 2
    # At most one step is lost in every crash.
    assert done.total() <= len(done) + len(_DEATHS)


async def _ask(url: str) -> None:
    store = open_store(url)
    await store.open()
    conversation = await a_conversation(store)
    for i in range(_RUNS):
        await store.runs.accept(a_submission(conversation, f"U{i}"), None)
    await store.close()


async def _carry_out(url: str, effects: Path, death: tuple[str, int] | None) -> int:
    arguments = [] if death is None else ["--crash-at", death[0], "--pass", str(death[1])]
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.journeys.turns", url, str(effects), *arguments),
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": f"{Path(tertulia.__file__).parents[1]}:{_ROOT}"},
    )
    return await program.wait()
