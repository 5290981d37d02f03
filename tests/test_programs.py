"""Agents that were written in Python are found in modules, or it is told in one line why not."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tertulia
from tertulia import Agent
from tertulia.conversations import DEFAULT_TENANT
from tertulia.definitions import AgentDefinition
from tertulia.errors import InvalidInput
from tertulia.ids import AGENT, new_id
from tertulia.llms.scripted import ScriptedLLM
from tertulia.programs import Programs
from tertulia.stores import Store, open_store

KITCHEN = """
from collections import OrderedDict

import tertulia
from tertulia import Agent

chef = Agent("scripted:echo", name="chef")
cook = Agent("scripted:echo", name="cook")
_hidden = Agent("scripted:echo", name="hidden")
both = [chef, cook]
pair = (chef, cook)
by_name = OrderedDict(one=chef, two=cook)
nameless = Agent("scripted:echo")
namesake = Agent("scripted:text=Soup", name="chef")
some = [chef, Agent("scripted:echo")]
keyed = {"one": Agent("scripted:echo")}
nothing = []
number = 3
mixed = [chef, "cook"]
knife = object()

def staff():
    return [chef, Agent("scripted:echo", name="waiter")]

def alone():
    return cook

def burns():
    raise OSError("the oven is broken")

def needs(oven):
    return chef

async def later():
    return chef

def deeper():
    return staff
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory where a program is started, with what it imports forgotten in the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "kitchen.py").write_text(KITCHEN)
    (tmp_path / "two.py").write_text("from tertulia import Agent\nwaiter = Agent('scripted:echo')\n")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("named", "names"),
    [
        ("kitchen:chef", ("chef",)),
        ("kitchen:both", ("chef", "cook")),
        ("kitchen:pair", ("chef", "cook")),
        ("kitchen:by_name", ("chef", "cook")),
        ("kitchen:staff", ("chef", "waiter")),
        ("kitchen:alone", ("cook",)),
        ("kitchen:_hidden", ("hidden",)),
        ("kitchen:chef, kitchen:cook", ("chef", "cook")),
        ("kitchen:chef,kitchen:both,", ("chef", "cook")),
    ],
)
def test_agents_are_found_by_module_and_name(named: str, names: tuple[str, ...]) -> None:
    assert Programs.found(named).names == names


def test_a_module_by_itself_stands_for_all_agents_in_it(folder: Path) -> None:
    (folder / "canteen.py").write_text("from kitchen import chef, cook, knife, _hidden\nagain = chef\n")

    assert Programs.found("canteen").names == ("chef", "cook")


def test_agents_that_are_there_already_stand_beside_those_that_are_found() -> None:
    assert Programs.found("kitchen:chef", [Agent("scripted:echo", name="baker")]).names == ("chef", "baker")


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("pantry:chef", "there is no module 'pantry', neither installed nor in "),
        ("kitchen:sommelier", "there is no 'sommelier' in the module 'kitchen'"),
        ("kitchen:number", "'kitchen:number' is an object of type int, and should be an Agent"),
        ("kitchen:knife", "'kitchen:knife' is an object of type object, and should be an Agent"),
        ("kitchen:mixed", "'kitchen:mixed' holds an object of type str, which is no agent"),
        ("kitchen:nothing", "'kitchen:nothing' holds no agent"),
        ("kitchen:burns", "calling 'kitchen:burns' fails (OSError: the oven is broken)"),
        ("kitchen:needs", "calling 'kitchen:needs' fails (TypeError: needs() missing 1 required"),
        ("kitchen:later", "'kitchen:later' must not be async"),
        ("kitchen:deeper", "'kitchen:deeper' is an object of type function, and should be"),
        (
            "kitchen:nameless",
            "a name to be found by, and the one at kitchen:nameless has none: Agent(…, name='nameless')",
        ),
        ("kitchen:some", "the one at kitchen:some[1] has none: Agent(…, name='chef')"),
        ("kitchen:keyed", "the one at kitchen:keyed['one'] has none"),
        ("two", "the one at two:waiter has none: Agent(…, name='waiter')"),
        ("kitchen:chef,kitchen:namesake", "two agents are named 'chef'"),
        ("collections", "there are no agents in the module 'collections'"),
        (":chef", "'' is no name of a module; give it as `import` would, as in kitchen or kitchen:chef"),
        (
            "../x",
            "'../x' is no name of a module; give it as `import` would (here: x, started in the folder '..')",
        ),
        ("kitchen.py", "'kitchen.py' is no name of a module; give it as `import` would (here: kitchen), as"),
        ("kitchen.py:chef", "(here: kitchen)"),
        ("menus/my-menu.py:chef", "give it as `import` would, as in kitchen"),
        (".kitchen", "'.kitchen' is no name of a module"),
    ],
)
def test_what_is_no_agent_is_told_in_one_line(named: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Programs.found(named)

    assert str(caught.value).startswith("agents to serve: ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_module_that_lacks_another_or_fails_is_told(folder: Path) -> None:
    (folder / "lacking.py").write_text("import nowhere_at_all\n")
    (folder / "failing.py").write_text("raise ValueError('no')\n")

    with pytest.raises(InvalidInput, match="'lacking' needs 'nowhere_at_all'; install it"):
        Programs.found("lacking:chef")
    with pytest.raises(InvalidInput, match=r"'failing' cannot be imported \(ValueError: no\)"):
        Programs.found("failing:chef")


@pytest.fixture
async def kept() -> Store:
    store = open_store("memory://")
    await store.open()
    return store


async def stored(store: Store, name: str) -> tuple[int, AgentDefinition]:
    agent = await store.agents.get(DEFAULT_TENANT, name)
    return agent.version, agent.definition


async def test_the_same_agent_again_makes_no_version(kept: Store, caplog: pytest.LogCaptureFixture) -> None:
    def again() -> Programs:
        return Programs([Agent(ScriptedLLM(["Soup"]), name="chef", instructions="Be brief.")])

    await again().register(kept, url="memory://")
    await again().register(kept, url="memory://")

    version, definition = await stored(kept, "chef")
    assert (version, definition.program, definition.instructions) == (1, "program:chef", "Be brief.")
    assert not caplog.records


async def test_an_agent_that_was_made_otherwise_is_the_programs_from_now_on(
    kept: Store, caplog: pytest.LogCaptureFixture
) -> None:
    agent = await kept.agents.create(DEFAULT_TENANT, new_id(AGENT), AgentDefinition(name="chef"))

    await Programs([Agent(ScriptedLLM(["Soup"]), name="chef")]).register(kept, url="memory://")

    now = await kept.agents.get(DEFAULT_TENANT, agent.id)
    assert (now.version, now.definition.program) == (2, "program:chef")
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "the agent 'chef' was there, made otherwise; from version 2 on it is what the program says"
    )


@pytest.mark.parametrize(
    ("store", "url", "is_warned"),
    [
        (None, "sqlite:///here.db", False),
        ("sqlite:///here.db", "sqlite:///here.db", False),
        ("sqlite:///here.db", "sqlite:////{folder}/here.db", False),
        ("sqlite:///there.db", "sqlite:///here.db", True),
        ("sqlite:///here.db", "postgresql://me:secret@host/db", True),
        ("postgres://me:secret@host/db", "postgresql://me:secret@host/db", False),
        ("memory://", "sqlite:///here.db", True),
    ],
)
async def test_an_agent_that_names_another_store_is_warned_of(
    kept: Store,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    *,
    store: str | None,
    url: str,
    is_warned: bool,
) -> None:
    chef = Agent("scripted:echo", name="chef", store=store)

    await Programs([chef]).register(kept, url=url.format(folder=str(tmp_path).lstrip("/")))

    assert [record.levelno for record in caplog.records] == [logging.WARNING] * is_warned
    assert "secret" not in caplog.text
    assert all("names a store of its own" in record.getMessage() for record in caplog.records)


async def test_a_store_that_was_lent_to_an_agent_is_another_one(
    kept: Store, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = Agent("scripted:echo", name="chef", store=open_store("memory://"))
    ours = Agent("scripted:echo", name="cook", store=kept)

    await Programs([theirs, ours]).register(kept, url="memory://")

    [record] = caplog.records
    assert "'chef'" in record.getMessage()


def test_a_server_that_serves_none_does_not_import_what_they_are_made_of() -> None:
    probe = "import sys, tertulia.cli.serve; print('tertulia.agent.agent' in sys.modules)"
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(tertulia.__file__).parents[1])}

    loaded = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, env=env, timeout=60
    )

    assert loaded.stdout == "False\n"
