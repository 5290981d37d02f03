"""Another process: rings what it reads on its standard input, writes down what it hears.

``python -m tests.hints.elsewhere URL``. Its first line says that it hears; each further one is what
was heard together, as JSON. An empty line has it write to the database, as a store would.
"""

import asyncio
import json
import sqlite3
import sys
from contextlib import closing

from tertulia.hints import open_hints


def write_to(url: str) -> None:
    """Change something in the file of a SQLite URL."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as raw, raw:
        raw.execute("CREATE TABLE IF NOT EXISTS written (at)")
        raw.execute("INSERT INTO written VALUES (0)")


def _say(words: object) -> None:
    sys.stdout.write(f"{json.dumps(words)}\n")
    sys.stdout.flush()


async def _main(url: str) -> None:
    hints = open_hints(url)
    await hints.open(lambda topics: _say(sorted(topics)))
    _say([])
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line.strip():
            hints.ring(json.loads(line))
        else:
            write_to(url)
    await hints.close()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
