"""The server as a process of its own."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

import tertulia


@asynccontextmanager
async def served(cwd: Path, *arguments: str, **env: str) -> AsyncIterator[tuple[Process, httpx2.AsyncClient]]:
    """Serve in a process of its own on a free port."""
    usual = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(tertulia.__file__).parents[1])}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tertulia", "serve", "--port", "0", *arguments),
        cwd=cwd,
        env=usual | env,
        stderr=PIPE,
    )
    try:
        address = await _announced(process)
        async with httpx2.AsyncClient(base_url=address, timeout=30) as client:
            yield process, client
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _announced(process: Process) -> str:
    assert process.stderr is not None
    async for line in process.stderr:
        told = json.loads(line)
        if told["event"] == "serving":
            return str(told["address"])
    raise AssertionError("it ended before it served")
