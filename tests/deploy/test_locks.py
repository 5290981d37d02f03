"""The locks beside requirements.lock: of the same versions, and no more than what is needed."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.deploy.reading import DEPLOY, ROOT, pins

WHOLE = pins(ROOT / "requirements.lock")
IMAGE = pins(DEPLOY / "requirements.lock")
OTHERS = [
    DEPLOY / "requirements.lock",
    DEPLOY / "build.lock",
    ROOT / "examples" / "requirements.lock",
    ROOT / "tests" / "deploy" / "requirements.lock",
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOADED_IF_THERE = {"h2", "hpack", "hyperframe", "mypy-extensions"}
"""What others bring along, and libraries of ours take if it is there."""


def names(demands: list[str]) -> set[str]:
    return {re.split(r"[ \[<>=;]", demand)[0] for demand in demands}


def pinned(lock: dict[str, set[str]]) -> dict[str, str]:
    halves = (pin.partition("==") for pin in lock)
    return {name: version for name, _, version in halves}


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_versions_agree_with_the_lock_of_the_project(path: Path) -> None:
    lock, whole = pins(path), pinned(WHOLE)
    shared = {pin: hashes for pin, hashes in lock.items() if pin.split("==")[0] in whole}

    assert {pin: WHOLE.get(pin) for pin in shared} == shared
    assert all(hashes for hashes in lock.values())


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_lock_says_where_packages_come_from(path: Path) -> None:
    assert "://" not in path.read_text(encoding="utf-8")


def test_the_image_has_what_the_server_needs_and_no_tool() -> None:
    tools = names([each for each in PROJECT["dependency-groups"]["dev"] if isinstance(each, str)])
    optional = PROJECT["project"]["optional-dependencies"]
    wanted = names([*PROJECT["project"]["dependencies"], *optional["mcp"], *optional["providers"]])
    carried = set(pinned(IMAGE))

    assert wanted | names(optional["redis"]) <= carried
    assert not names(optional["local"]) & carried
    # What providers' libraries bring along is no tool of ours.
    assert carried & tools <= {"httpx2", "openai", "pyyaml"}


def test_a_server_loads_nothing_that_the_image_does_not_have(tmp_path: Path) -> None:
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("src", ".")),
    }
    command = [sys.executable, "-m", "tests.deploy.starting", str(tmp_path)]

    ran = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)

    assert {"asyncpg", "fastapi", "sqlalchemy"} <= set(ran.stdout.split())
    assert set(ran.stdout.split()) - set(pinned(IMAGE)) <= {"tertulia", *LOADED_IF_THERE}


def test_the_image_builds_with_what_the_project_builds_with() -> None:
    told = (DEPLOY / "build.txt").read_text(encoding="utf-8").split()

    assert told == PROJECT["build-system"]["requires"]
