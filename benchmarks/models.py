"""What asking a model costs in CPU time, plug by plug, beside HTTP that sends the same bytes and no more."""

import argparse
import io
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import uvloop

from benchmarks import meter, serving
from benchmarks.replay import PIECE
from tertulia.llms.base import Finished, Prompt, Shown
from tertulia.llms.naming import bare_llm
from tertulia.llms.options import LLMOptions

MODELS: Final = {
    "openai-chat": "gpt-5-mini",
    "openai": "gpt-5-mini",
    "openai-completions": "gpt-3.5-turbo-instruct",
    "anthropic": "claude-haiku-4-5",
    "google": "gemini-2.5-flash",
    "mistral": "mistral-large-latest",
    "groq": "llama-3.3-70b-versatile",
    "cohere": "command-a-03-2025",
    "huggingface": "Qwen/Qwen3-235B-A22B",
}
_VERSIONED: Final = ("openai-chat", "openai", "openai-completions")
"""Wires whose base URL names a version."""
_SAID: Final = 120
_WARM: Final = 3


class WrongAnswer(Exception):
    """A model did not say what it was to say; then no figure counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is asked."""

    calls: int
    """In one slice, of which the least counts: other work on the machine only adds."""
    slices: int
    pieces: int
    """Of a streamed answer."""
    history: Sequence[int]
    """Messages that are shown."""


@dataclass(frozen=True, slots=True)
class Asked:
    """CPU milliseconds of one call, slice by slice: of the plug, and of bare HTTP."""

    plug: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Figure:
    """What one plug costs with one history."""

    wire: str
    history: int
    pieces: int
    whole: Asked
    """The answer in one piece, not streamed."""
    one: Asked
    """Streamed, in one piece."""
    many: Asked
    """Streamed, in all pieces."""

    def __str__(self) -> str:
        plug, floor = min(self.whole.plug), min(self.whole.floor)
        piece = self._piece(self.one.plug, self.many.plug)
        floor_piece = self._piece(self.one.floor, self.many.floor)
        return (
            f"{self.wire:20}{self.history:6}{plug:9.3f}{f'({statistics.median(self.whole.plug):.3f})':>9}"
            f"{floor:9.3f}{plug / floor:8.1f}{min(self.one.plug):10.3f}{piece:9.1f}{floor_piece:8.1f}"
        )

    def _piece(self, one: list[float], many: list[float]) -> float:
        """Return the microseconds that one more piece takes; what is less than nothing is noise."""
        return max(0.0, min(many) - min(one)) * 1000 / (self.pieces - 1)


@contextmanager
def replaying() -> Iterator[str]:
    """Run the server that stands for all providers; give its address."""
    command = [sys.executable, "-m", "benchmarks.replay"]
    with (
        meter.on_cpu(serving.CLIENT_CPU),
        subprocess.Popen(
            command, env=serving.environment(), cwd=serving.ROOT, stdout=subprocess.PIPE, text=True
        ) as server,
    ):
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        finally:
            server.terminate()


async def measure(address: str, wire: str, *, history: int, size: Size) -> Figure:
    """Measure a plug and the bare HTTP that does the same, slice by slice in turn."""
    messages = [_shown(number) for number in range(history)]
    whole = Prompt(messages=messages, wants_deltas=False)
    streamed = Prompt(messages=messages)
    return Figure(
        wire,
        history,
        size.pieces,
        whole=await _asked(f"{address}/{wire}/1", whole, size),
        one=await _asked(f"{address}/{wire}/1", streamed, size),
        many=await _asked(f"{address}/{wire}/{size.pieces}", streamed, size),
    )


async def _asked(url: str, prompt: Prompt, size: Size) -> Asked:
    wire, pieces = url.split("/")[-2:]
    llm = bare_llm(f"{wire}:{MODELS[wire]}", options=_options(wire, url))
    least = int(pieces) * len(PIECE) if prompt.wants_deltas and wire in _VERSIONED else 1

    async def ask() -> None:
        async with aclosing(llm.stream(prompt)) as events:
            async for event in events:
                last = event
        if not isinstance(last, Finished) or len(last.text) < least:
            raise WrongAnswer(f"{wire}: {last}")

    found = Asked()
    async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session:
        try:
            await _slice(ask, _WARM)
            post = await _same(session, url)
            await _slice(post, _WARM)
            for _ in range(size.slices):
                found.plug.append(await _slice(ask, size.calls))
                found.floor.append(await _slice(post, size.calls))
        finally:
            await llm.close()
    return found


async def _same(session: aiohttp.ClientSession, url: str) -> Callable[[], Awaitable[None]]:
    """Return what sends the bytes that were sent last, and reads the answer without looking at it."""
    address = url.rsplit("/", 2)[0]
    async with session.get(f"{address}/last") as last:
        path, _, body = (await last.read()).partition(b"\n")

    async def post() -> None:
        # As a file: aiohttp warns of large bytes.
        async with session.post(f"{address}{path.decode()}", data=io.BytesIO(body)) as answer:
            async for _ in answer.content.iter_any():
                pass

    return post


async def _slice(call: Callable[[], Awaitable[None]], calls: int) -> float:
    """Return the CPU milliseconds of one of so many calls."""
    begun = time.process_time()
    for _ in range(calls):
        await call()
    return (time.process_time() - begun) * 1000 / calls


def _options(wire: str, url: str) -> LLMOptions:
    base_url = f"{url}/v1" if wire in _VERSIONED else url
    return LLMOptions(api_key="sk-benchmark", base_url=base_url)


def _shown(number: int) -> Shown:
    if number % 2:
        return Shown(role="assistant", text="a" * 4 * _SAID)
    return Shown(role="user", text="q" * _SAID)


async def run(wires: Sequence[str], size: Size, address: str) -> None:
    """Measure everything, and print each line as it is known."""
    for wire in wires:
        for history in size.history:
            print(await measure(address, wire, history=history, size=size), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description=__doc__)
    parser.add_argument("--wires", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--calls", type=int, default=20, help="in a slice")
    parser.add_argument("--slices", type=int, default=5)
    parser.add_argument("--pieces", type=int, default=200, help="of a streamed answer")
    parser.add_argument("--history", type=int, nargs="+", default=[11, 501], help="messages that are shown")
    given = parser.parse_args(arguments)
    size = Size(calls=given.calls, slices=given.slices, pieces=given.pieces, history=given.history)
    print("CPU ms per call, least (median) of all slices; HTTP alone posts the same bytes with aiohttp")
    print(
        f"{'':20}{'shown':>6}{'whole':>9}{'':9}{'HTTP':>9}{'x HTTP':>8}{'streamed':>10}{'µs/piece':>9}   HTTP"
    )
    with replaying() as address, meter.on_cpu(serving.SERVER_CPU):
        uvloop.run(run(given.wires, size, address))


if __name__ == "__main__":
    main()
