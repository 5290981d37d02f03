"""``tertulia models`` lists what providers offer, and says who tells nothing, and why."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typing_extensions import override

import tertulia
from tertulia.cli.offers import offers
from tertulia.errors import ModelBusy, ModelRefused
from tertulia.llms import LLMS, LLMOptions
from tertulia.llms.scripted import ScriptedLLM


def models(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    usual = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(tertulia.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, "-m", "tertulia", "models", *arguments],
        cwd=cwd,
        env=usual | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_models_are_told_as_agents_name_them(tmp_path: Path) -> None:
    done = models(cwd=tmp_path)

    assert done.returncode == 0
    assert {"local", "scripted:echo"} <= set(done.stdout.splitlines())
    assert "openai-chat: OpenAI wants a key" in done.stderr


def test_one_provider_can_be_asked_alone(tmp_path: Path) -> None:
    well, failing = models("scripted", cwd=tmp_path), models("openai-chat", cwd=tmp_path)

    assert (well.stdout, well.stderr, well.returncode) == ("scripted:echo\n", "", 0)
    assert (failing.stdout, failing.returncode) == ("", 1)
    assert len(failing.stderr.splitlines()) == 1


def test_a_provider_that_there_is_not_is_told(tmp_path: Path) -> None:
    done = models("nobody", cwd=tmp_path)

    assert done.returncode == 2
    assert "local" in done.stderr
    assert len(done.stderr.splitlines()) == 1


async def test_who_takes_too_long_and_who_fails_keep_nobody_else_from_telling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Busy(ScriptedLLM):
        @override
        @classmethod
        async def list_models(cls, provider: str, options: LLMOptions) -> list[str]:
            raise ModelBusy("come back later")

    class Slow(ScriptedLLM):
        @override
        @classmethod
        async def list_models(cls, provider: str, options: LLMOptions) -> list[str]:
            await asyncio.Event().wait()
            return ["never told"]

    plugs = {"openai-chat": Busy, "local": Slow, "scripted": ScriptedLLM}
    monkeypatch.setattr(LLMS, "get", plugs.__getitem__)

    found = await offers(plugs, LLMOptions(), seconds=0.02)

    assert [offer.models for offer in found] == [(), (), ("scripted:echo",)]
    assert [str(offer.trouble) for offer in found] == ["come back later", "no answer within 0.02 s", "None"]


async def test_a_model_that_could_not_be_asked_is_listed_with_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Keyless(ScriptedLLM):
        closed = 0

        async def try_open(self) -> None:
            raise ModelRefused("set ITS_API_KEY")

        @override
        async def close(self) -> None:
            type(self).closed += 1

    monkeypatch.setattr(LLMS, "get", {"scripted": Keyless}.__getitem__)

    [found] = await offers(["scripted"], LLMOptions())

    assert (found.models, str(found.trouble)) == (("scripted:echo",), "set ITS_API_KEY")
    assert Keyless.closed == 1
