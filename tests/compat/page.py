"""The samples on the page about Agent Framework, carried out as they stand there."""

import ast
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from types import CodeType
from typing import Any, Final

PAGE: Final = Path(__file__).parents[2] / "docs" / "agent-framework.md"
IN_MEMORY: Final = "Samples"
IN_A_FILE: Final = "A thread in a file"


def samples() -> dict[str, str]:
    """Return the samples in Python, by their headings."""
    sections = re.split(r"^##+ (.*)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = {
        heading: re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        for heading, text in zip(sections[::2], sections[1::2], strict=True)
    }
    return {heading: "\n".join(blocks) for heading, blocks in found.items() if blocks}


async def carry_out(
    heading: str, replaced: Mapping[str, str] | None = None, **names: object
) -> dict[str, Any]:
    """Carry out a sample in a namespace of its own, which is returned."""
    source = samples()[heading]
    for old, new in (replaced or {}).items():
        assert old in source
        source = source.replace(old, new)
    place: dict[str, Any] = {"__name__": "a_program_of_somebody", **names}
    code: CodeType = compile(source, heading, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    pending = eval(code, place)  # noqa: S307  # it is a page of ours
    if inspect.iscoroutine(pending):
        await pending
    return place
