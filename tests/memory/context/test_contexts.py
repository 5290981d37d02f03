"""What an agent's author can choose, and how others add to it."""

import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tertulia.errors import InvalidInput
from tertulia.memory import context
from tertulia.memory.context import CONTEXTS, Means
from tertulia.memory.context.base import ContextProvider
from tertulia.stores import open_store
from tertulia.testing.context_contract import Visit

TIDES = """
    from tertulia.memory.context import BuildableContext, RunContext


    class Tides(BuildableContext):
        @classmethod
        def build(cls, options, means):
            made = cls()
            made.harbour = options["harbour"]
            return made

        async def before_run(self, run):
            return RunContext(messages=[f"High water in {self.harbour} at noon."])
"""


@pytest.fixture
def tides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution from elsewhere that has a context provider."""
    (tmp_path / "tides.py").write_text(dedent(TIDES))
    there = tmp_path / "tides-1.0.dist-info"
    there.mkdir()
    (there / "METADATA").write_text("Metadata-Version: 2.1\nName: tides\nVersion: 1.0\n")
    (there / "entry_points.txt").write_text("[tertulia.contexts]\ntides = tides:Tides\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tides", raising=False)


def test_ours_are_there() -> None:
    found = {name: CONTEXTS.get(name) for name in CONTEXTS}

    assert set(found) == {"database", "knowledge", "user_facts"}
    assert all(ContextProvider in plug.__mro__ for plug in found.values())


def test_all_that_is_promised_can_be_imported() -> None:
    assert [name for name in context.__all__ if getattr(context, name, None) is None] == []


@pytest.mark.parametrize("name", ["database", "knowledge", "user_facts"])
def test_unknown_options_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        CONTEXTS.get(name).build({"colour": "blue"}, Means(store=open_store("memory://")))


@pytest.mark.usefixtures("tides")
async def test_one_from_elsewhere_is_found_by_its_entry_point() -> None:
    means = Means(store=open_store("memory://"))

    built = CONTEXTS.get("tides").build({"harbour": "Cuxhaven"}, means)

    assert await Visit(built).told() == "High water in Cuxhaven at noon."
