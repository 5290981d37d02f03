"""On a full disk what is under way is ended, nothing new is taken in, and all is well when there is room."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
SMALL: Final = "mount -t tmpfs -o size=16m small {0} && exec {1} -m tests.stores.filling disk {0}"


def _filled(form: str, where: Path) -> dict[str, Any]:
    """Return what a store did while its disk was filled: in a process of its own, on a disk of its own."""
    command = [sys.executable, "-m", "tests.stores.filling", "pages", str(where)]
    if form == "disk":
        command = ["unshare", "-rm", "sh", "-ec", SMALL.format(where, sys.executable)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _forms() -> list[str]:
    """Return the ways in which a disk can be filled here; one is to be had everywhere."""
    if shutil.which("unshare") is None:
        return ["pages"]
    probe = ["unshare", "-rm", "sh", "-ec", "mount -t tmpfs -o size=1m small /mnt"]
    is_allowed = subprocess.run(probe, capture_output=True, check=False).returncode == 0
    return ["disk", "pages"] if is_allowed else ["pages"]


@pytest.mark.parametrize("form", _forms())
def test_full_disk_ends_what_is_under_way_and_takes_nothing_new_until_there_is_room(
    form: str, tmp_path: Path
) -> None:
    found = _filled(form, tmp_path)

    assert "the disk is full" in found["refused"]
    assert found["health"] == [False, found["refused"]]
    assert found["refused again"] == [True] * 3
    assert found["read"]
    assert set(found["ended"]) == {"completed"}
    assert all(found["answered"])
    assert found["full still"]
    assert found["recovered"]
    assert found["lost"] == 0
    assert found["integrity"] == "ok"
