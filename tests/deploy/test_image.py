"""What the image carries: the wheel is built from its context, and runs as the Dockerfile says."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from zipfile import ZipFile

import pytest

from tests.cli.serving import served
from tests.deploy.reading import ROOT, environment, only, stages
from tests.server.doing import a_conversation, say

BUILD, RUN = stages()
SECONDS: Final = 60
NOWHERE: Final = "/proc/nowhere"
"""Where nobody can write, root neither."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from nothing but what the Dockerfile copies before it does so."""
    context = tmp_path_factory.mktemp("context")
    for instruction in BUILD:
        if instruction.name == "COPY":
            for source in instruction.arguments[:-1]:
                _copy(ROOT / source, context / Path(source).name)
    _pip("wheel", "--no-build-isolation", "--wheel-dir", "dist", ".", cwd=context)
    [built] = (context / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """A directory with the package as the wheel installs it."""
    target = wheel.parent / "installed"
    _pip("install", "--target", str(target), str(wheel), cwd=wheel.parent)
    return target


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _pip(*arguments: str, cwd: Path) -> None:
    quiet = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index")
    command = [sys.executable, "-m", "pip", arguments[0], *quiet, *arguments[1:]]
    subprocess.run(command, cwd=cwd, check=True, timeout=SECONDS)


def _run(
    *command: str, cwd: Path, env: Mapping[str, str], installed: Path
) -> subprocess.CompletedProcess[str]:
    usual = {"PATH": os.environ["PATH"], "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**usual, **env},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    package = ROOT / "src" / "tertulia"
    files = {path.relative_to(package.parent) for path in package.rglob("*") if path.is_file()}

    held = {Path(name) for name in ZipFile(wheel).namelist() if name.startswith("tertulia/")}

    assert held == {path for path in files if "__pycache__" not in path.parts}
    assert any(path.parts[1:4] == ("stores", "sql", "migrations") for path in held)
    assert any(path.suffix == ".html" for path in held)


def test_the_command_is_there(wheel: Path, installed: Path, tmp_path: Path) -> None:
    entry = next(name for name in ZipFile(wheel).namelist() if name.endswith("entry_points.txt"))

    helped = _run("-m", "tertulia", "--help", cwd=tmp_path, env={}, installed=installed)
    found = _run("-c", "import tertulia; print(tertulia.__file__)", cwd=tmp_path, env={}, installed=installed)

    assert f"{only(RUN, 'ENTRYPOINT').arguments[0]} = " in ZipFile(wheel).read(entry).decode()
    assert "Start the server." in helped.stdout
    assert Path(found.stdout.strip()).is_relative_to(installed)


def test_it_refuses_to_start_until_somebody_says_who_decides_who_comes_in(
    installed: Path, tmp_path: Path
) -> None:
    env = environment(RUN) | {"PATH": os.environ["PATH"], "TERTULIA_DATA_DIR": str(tmp_path)}

    ended = _run("-m", "tertulia", "serve", cwd=tmp_path, env=env, installed=installed)

    assert ended.returncode == 2
    assert "TERTULIA_AUTH=none-at-my-own-risk" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


async def test_it_serves_and_its_health_can_be_asked(installed: Path, tmp_path: Path) -> None:
    chosen = {"PYTHONPATH": str(installed), "TERTULIA_MODEL": "scripted:echo"}
    check = only(RUN, "HEALTHCHECK").arguments[1:]

    async with served(tmp_path, **chosen) as (process, client):
        env = {"TERTULIA_PORT": str(urlsplit(str(client.base_url)).port)}
        answer = await say(client, await a_conversation(client), "hello")
        page = await client.get("/docs")
        healthy = _run(*check, cwd=tmp_path, env=env, installed=installed)
        process.kill()
        await process.wait()
        dead = _run(*check, cwd=tmp_path, env=env, installed=installed)

    assert answer.json()["response"] == "hello"
    assert page.status_code == 200
    assert healthy.returncode == 0
    assert dead.returncode != 0


async def test_on_postgresql_it_writes_to_no_file(installed: Path, tmp_path: Path, postgres_url: str) -> None:
    secret = tmp_path / "url"
    secret.write_text(postgres_url + "\n")
    folder = tmp_path / "app"
    folder.mkdir()
    chosen = {
        "PYTHONPATH": str(installed),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": NOWHERE,
        "TERTULIA_DATA_DIR": NOWHERE,
        "TERTULIA_DATABASE_URL_FILE": str(secret),
        "TERTULIA_MODEL": "scripted:echo",
    }

    async with served(folder, **chosen) as (_, client):
        answer = await say(client, await a_conversation(client), "hello")
        ready = await client.get("/readyz")

    assert answer.json()["response"] == "hello"
    assert ready.status_code == 200
    assert list(folder.iterdir()) == []
