"""No terminal obeys what a model, an agent's author or another person wrote."""

import asyncio
import io
import os
import pty
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis.strategies import characters, text
from rich.console import Console

import tertulia
from tertulia.cli.plain import plain
from tertulia.cli.rendering import Plain, rendered
from tertulia.conversations import DEFAULT_TENANT
from tertulia.definitions import AgentDefinition
from tertulia.ids import AGENT, new_id
from tertulia.stores import open_store
from tertulia.testing.fake_openai import FakeOpenAI

EVIL = "one \x1b]52;c;cHduZWQ=\x07 two \x9b31m \u202ethree &#8238; [four](http://x/\x1b]0;y\x07) `\x1b]0;z`"
OBEYED = ("\x1b]", "\x9b", "\u202e")


@given(text(characters(codec=None)))
def test_only_lines_and_tabs_are_left_of_what_controls(said: str) -> None:
    shown = plain(said)

    assert plain(shown) == shown
    assert {c for c in shown if unicodedata.category(c) in {"Cc", "Cs"}} <= {"\n", "\t"}
    assert not {unicodedata.bidirectional(c) for c in shown} & {
        "LRE",
        "RLE",
        "PDF",
        "LRO",
        "RLO",
        "FSI",
        "PDI",
    }


@pytest.mark.parametrize("said", ["", "words\n\tin lines\n", "¿Qué? 你好 مرحبا 🍳👩‍🍳"])
def test_what_people_usually_write_stays_as_it_is(said: str) -> None:
    assert plain(said) == said


def test_markdown_cannot_spell_what_is_refused() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)

    console.print(Plain(rendered("**bold** &#8238;evil&#12; [link](http://x/?a) `\x1b[2J`")))

    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "\x1b[1m" in shown
    assert "http://x/?a" in shown
    assert not [mark for mark in (*OBEYED, "\x0c", "\x1b[2J") if mark in shown]


async def test_a_terminal_is_never_told_what_to_do(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tertulia.db'}"
    store = open_store(url)
    await store.open()
    chef = AgentDefinition(name="Chef", first_message=EVIL)
    await store.agents.create(DEFAULT_TENANT, new_id(AGENT), chef)
    await store.close()

    async with FakeOpenAI() as model:
        model.script([EVIL])
        ours, theirs = pty.openpty()
        chatting = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tertulia", "chat"),
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(Path(tertulia.__file__).parents[1]),
                "TERM": "xterm-256color",
                "OPENAI_BASE_URL": model.base_url,
                "OPENAI_API_KEY": "sk-test",
                "TERTULIA_DATABASE_URL": url,
                "TERTULIA_MODEL": "openai-chat:fake",
            },
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        os.write(ours, b"hello\n/history\n/quit\n")
        seen = await asyncio.to_thread(everything_from, ours)
        await chatting.wait()
        os.close(ours)

    assert chatting.returncode == 0, seen
    assert seen.count("one \ufffd]52;c;cHduZWQ=\ufffd two \ufffd31m") >= 3  # opening, answer, history
    assert not [mark for mark in OBEYED if mark in seen]


def everything_from(terminal: int) -> str:
    seen = b""
    with suppress(OSError):  # it is closed at the other end
        while more := os.read(terminal, 65_536):
            seen += more
    return seen.decode()
