"""A turn with tools survives a death at any point: no effect too often, no answer asked for twice."""

from collections import Counter
from pathlib import Path
from typing import Final

from tertulia import ids
from tertulia.conversations import DEFAULT_TENANT, NewConversation
from tertulia.definitions import AgentDefinition
from tertulia.stores import open_store
from tertulia.testing.crashing import KILLED
from tertulia.testing.history import COMPLETED, History, Witness, check
from tertulia.testing.reading import read_history
from tests.conftest import Times
from tests.journeys.lives import HEALTHY, Ledger, lives_of
from tests.journeys.tools import TOOLS, asked_for

_DEATHS: Final = (
    # The second intent of a life is that of the tool whose uncertain outcome is asked about.
    *("intent.after:2+wait.before:1", "intent.after:2+wait.after:1", "accept.before:1"),
    *("accept.after:1", "run.begin:1", "step.before:1", "step.speaking:1", "step.after:1"),
    *("intent.before:1", "intent.after:1", "journal.before:1", "journal.after:1", "frames.before:1"),
    *("frames.after:1", "end.before:1", "end.after:1", "step.after:1+takeover.begin:1"),
)
"""Where a process with an agent that uses tools can die, and at which passing in a life."""
_LATER: Final = (
    *("intent.before:2", "intent.after:2", "journal.before:2", "journal.after:2"),
    *(f"step.{when}:{passing}" for passing in range(2, 6) for when in ("before", "after")),
)
"""The same again, further on in such a turn."""
_GIVEN_UP: Final = 3
"""Runs that may have been given up: some deaths come one after another on the same way."""
_MORE: Final = 20
"""Messages beside one for each death: some points are not passed in every life."""


async def test_every_effect_happens_as_its_tool_has_it_whenever_the_process_dies(
    database_url: str, tmp_path: Path, times: Times
) -> None:
    deaths = [*_DEATHS, *_LATER] * times(1, 3)
    # After every other death things come to their end: what dies three times on its way is given up.
    ends = [end for i, death in enumerate(deaths) for end in ([death, HEALTHY] if i % 2 else [death])]
    ledger = Ledger(tmp_path / "ledger")
    conversations = await _conversations(database_url, count=len(deaths) + _MORE)

    lives = await lives_of(
        "tests.journeys.tools", database_url, str(tmp_path / "ledger"), ",".join(conversations), *ends
    )
    history = await read_history(database_url)

    assert {code for _, code in lives} == {KILLED, 0}
    assert {death for death, code in lives if code == KILLED} == {
        d for death in deaths for d in death.split("+")
    }
    assert check(history, Witness(is_quiet=True)) == []
    failures = await _failures(database_url, history)
    _check_failures(failures)
    _check_effects(ledger.lines(), history, failures)
    _check_model(ledger.lines())
    _check_logs(history, failures)


def _check_failures(failures: dict[str, str]) -> None:
    """Only what was to fail has failed, or what had seen three deaths without coming further."""
    for text, code in failures.items():
        assert code == "run_given_up" or (code == "unknown_outcome" and text.endswith("ring")), (text, code)
    assert list(failures.values()).count("run_given_up") <= _GIVEN_UP


def _check_effects(lines: list[str], history: History, failures: dict[str, str]) -> None:
    done = Counter(line.split()[1] for line in lines if line.startswith("effect "))
    assert done.keys() == set(TOOLS)
    assert any(line.startswith("decided ") for line in lines)
    by_key = Counter(line for line in lines if line.startswith("effect "))
    for effect, count in by_key.items():
        assert count == 1 or effect.startswith("effect send"), effect
    for message in (each for each in history.messages if each.role == "user"):
        for name in asked_for(message.text):
            happened = [effect for effect in by_key if effect.startswith(f"effect {name} {message.text} ")]
            assert len(happened) == 1 or message.text in failures, (name, message.text)


def _check_model(lines: list[str]) -> None:
    """What was journaled when a life began was asked for no more."""
    journaled = set[str]()
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind == "journaled":
            journaled.add(rest)
        assert kind != "model" or rest not in journaled, line
    assert journaled


def _check_logs(history: History, failures: dict[str, str]) -> None:
    for asked in (each for each in history.messages if each.role == "user"):
        said = [each for each in history.messages if each.run_id == asked.run_id][1:]
        roles = [each.role for each in said]
        if asked.text in failures:  # what was done stays, and nothing was made up
            assert roles in ([], ["assistant", *["tool"] * (len(roles) - 1)])
        else:
            assert roles == ["assistant", "tool", "tool", "tool", "assistant"]
            assert said[-1].text == f"All done: {asked.text}"


async def _failures(url: str, history: History) -> dict[str, str]:
    """Return why runs have failed, by what they were asked."""
    texts = {message.id: message.text for message in history.messages}
    failed = [run for run in history.runs if run.status != COMPLETED]
    store = open_store(url)
    await store.open()
    found = {}
    for run in failed:
        failure = (await store.runs.get(DEFAULT_TENANT, f"run_{run.id}")).failure
        found[texts[run.input_message_id]] = "" if failure is None else failure.code
    await store.close()
    return found


async def _conversations(url: str, *, count: int) -> list[str]:
    store = open_store(url)
    await store.open()
    definition = AgentDefinition(name="Busy", tools=TOOLS)
    agent = await store.agents.create(DEFAULT_TENANT, ids.new_id(ids.AGENT), definition)
    found = []
    for _ in range(count):
        new = NewConversation(id=ids.new_id(ids.CONVERSATION), agent_id=agent.id)
        found.append((await store.conversations.create(DEFAULT_TENANT, new)).id)
    await store.close()
    return found
