"""What it takes to try a page about the library: its examples, carried out one after the other."""

import ast
import inspect
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final

from tests.docs.following import ROOT, SECONDS

_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_AS_IT_IS: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Block:
    """Something that stands between fences."""

    language: str
    text: str
    line: int

    def with_put(self, put: Mapping[str, str]) -> "Block":
        """Return it with something else in the place of what a stranger would have."""
        text = self.text
        for theirs, ours in put.items():
            text = text.replace(theirs, ours)
        return replace(self, text=text)


def blocks(page: str) -> list[Block]:
    """Return what stands between fences on a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(found[1], found[2], text.count("\n", 0, found.start()) + 2) for found in _BLOCK.finditer(text)
    ]


def with_next(found: Sequence[Block]) -> Iterator[tuple[Block, Block | None]]:
    """Yield each block with the one after it, in which may stand what it prints."""
    yield from zip(found, [*found[1:], None], strict=True)


async def carry_out_all(page: str, *, put: Mapping[str, str] = _AS_IT_IS) -> dict[str, Any]:
    """Carry out a page's examples in Python as in ``python -m asyncio``; return what they have made.

    A block of text after one is what it prints; a block that imports pytest is left out. ``put`` says
    what is to stand instead of what a stranger would have: addresses.
    """
    with _place(page) as place:
        for block, following in with_next(blocks(page)):
            if block.language != "python" or "import pytest" in block.text:
                continue
            printed = await _carry_out(block.with_put(put), page, place)
            if following is not None and following.language == "text":
                assert printed == following.text, f"{page}, line {block.line}: {printed}"
        return dict(vars(place))


def carry_out_contract(page: str, folder: Path) -> int:
    """Write the modules of a page into a folder, and do what it says to test them; return what passed."""
    for block in blocks(page):
        if named := re.match(r"# (\w+\.py)\n", block.text):
            (folder / named[1]).write_text(block.text, encoding="utf-8")
    (command,) = [block.text for block in blocks(page) if block.text.startswith("python -m pytest")]
    ran = subprocess.run(
        [sys.executable, *command.split()[1:], "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", "."],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    return int(re.findall(r"(\d+) passed", ran.stdout)[-1])


async def _carry_out(block: Block, page: str, place: ModuleType) -> str:
    """Carry out one block; return what it prints."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        # What fails is told with its line on the page.
        pending = eval(_compiled(block, page), vars(place))  # noqa: S307  # it is a page of ours
        if inspect.iscoroutine(pending):
            await pending
    return printed.getvalue()


def _compiled(block: Block, page: str) -> CodeType:
    source = "\n" * (block.line - 1) + block.text
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code: CodeType = compile(source, str(ROOT / page), "exec", flags=flags, dont_inherit=True)
    return code


@contextmanager
def _place(page: str) -> Iterator[ModuleType]:
    """A module for names to be in, so that types that are made there know where they are."""
    place = ModuleType(f"page_{re.sub(r'[^a-z]', '_', page)}")
    sys.modules[place.__name__] = place
    try:
        yield place
    finally:
        del sys.modules[place.__name__]
