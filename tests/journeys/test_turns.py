"""Runs of several turns, as group chats have them, survive a death at any point on their way."""

from collections import Counter
from pathlib import Path
from typing import Final

from tertulia.engine import POINTS
from tertulia.stores import open_store
from tertulia.testing.builders import a_conversation, a_submission
from tertulia.testing.crashing import KILLED
from tertulia.testing.history import COMPLETED, History, Witness, check
from tertulia.testing.reading import read_history
from tests.journeys.dying import SERVER_POINTS
from tests.journeys.lives import lives_of
from tests.journeys.turns import POLICIES, TURNS

_DEATHS: Final = (
    *("commit.before:1", "commit.after:1", "intent.before:1", "intent.after:1", "step.after:2"),
    *("wait.before:1", "wait.after:1", "job.before:1", "job.after:1", "journal.before:1"),
    *("step.after:4", "step.before:3", "intent.after:2", "journal.after:2", "commit.after:2"),
    *("step.after:2", "end.before:1", "intent.after:3", "wait.after:1", "job.after:2"),
)
"""A point, and which passing of it in a life."""
_SAID: Final = [f"U{i} {POLICIES[i % len(POLICIES)]}" for i in range(15)]


def test_every_point_is_died_at_here_or_by_servers() -> None:
    assert {death.partition(":")[0] for death in _DEATHS} >= set(POINTS) - set(SERVER_POINTS)


async def test_turns_effects_waits_and_jobs_survive_every_death(database_url: str, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    await _ask(database_url)

    lives = await lives_of("tests.journeys.turns", database_url, str(ledger), *_DEATHS)
    codes = [code for _, code in lives]
    history = await read_history(database_url)
    done = Counter(ledger.read_text().splitlines())

    assert Counter(codes).keys() == {KILLED, 0}
    assert codes.count(KILLED) == len(_DEATHS)
    assert check(history, Witness(is_quiet=True)) == []
    _check_log(history)
    _check_steps(done)
    _check_decisions(history, done)
    _check_jobs(history, done)


def _check_log(history: History) -> None:
    """Every run has said its turns in order, each once; only what was to fail has failed, for that reason."""
    unfinished = {run.input_message_id for run in history.runs if run.status != COMPLETED}
    asked = [message for message in history.messages if message.role == "user"]
    assert [message.text for message in asked] == _SAID
    assert {message.text.partition(" ")[2] for message in asked if message.id in unfinished} == {"fail"}
    for message in asked:
        said = [each.text for each in history.messages if each.run_id == message.run_id][1:]
        whole = [f"{message.text}.{n}" for n in range(1, TURNS + 1)]
        assert said == whole[: len(said)]
        assert message.id in unfinished or said == whole


def _check_steps(done: Counter[str]) -> None:
    steps = _of("step", done)
    # One thing is done at a time: a death undoes one at most, and of what is journaled none.
    assert steps.total() <= len(steps) + len(_DEATHS)
    for what, count in steps.items():
        if what.endswith("/act") and " fail " in what:
            assert count == 1, what


def _check_decisions(history: History, done: Counter[str]) -> None:
    """What is to be asked about was never done again without a decision; where there was one, it was."""
    runs = {f"run_{run.id}": run.input_message_id for run in history.runs}
    texts = {message.id: message.text for message in history.messages}
    decided = Counter[str]()
    for what, count in _of("decided", done).items():
        run_id, path, verdict = what.split()
        decided[f"{texts[runs[run_id]]} {path}"] += count * (verdict == "retry")
    steps = _of("step", done)
    for what, count in steps.items():
        if what.endswith("/act") and " ask " in what:
            assert count <= 1 + decided[what], what
    assert decided.total() > 0
    assert any(count > 1 for what, count in steps.items() if what.endswith("/act"))


def _check_jobs(history: History, done: Counter[str]) -> None:
    """What a turn wanted to have done was done, and so was nothing that no turn wanted."""
    jobs = _of("job", done)
    assert set(jobs) == {message.text for message in history.messages if message.role != "user"}
    assert jobs.total() <= len(jobs) + len(_DEATHS) * 4


def _of(kind: str, done: Counter[str]) -> Counter[str]:
    return Counter({what.partition(" ")[2]: n for what, n in done.items() if what.startswith(f"{kind} ")})


async def _ask(url: str) -> None:
    store = open_store(url)
    await store.open()
    conversation = await a_conversation(store)
    for text in _SAID:
        await store.runs.accept(a_submission(conversation, text), None)
    await store.close()
