"""What it takes to follow a page: its commands, carried out, and what they print."""

import json
import re
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SECONDS: Final = 60


def commands(page: str = "README.md") -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)


def json_values(text: str) -> list[object]:
    """Return the JSON values that stand one after another in a text."""
    found, decoder, rest = [], json.JSONDecoder(), text.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        found.append(value)
        rest = rest[end:].lstrip()
    return found


def carry_out(block: str, server: str, folder: Path, environment: dict[str, str]) -> str:
    """Do what a block of commands says, on this server; return what it prints."""
    ran = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", block.replace("127.0.0.1:8000", server)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ran.returncode == 0, f"{block}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout
