"""What a run of an agent costs in a program: CPU time without a server, without HTTP and without a model.

A user says 120 characters and is answered with 400, at once; the whole history is encoded for the model, as
it is for one that speaks OpenAI's chat completions. CPU is that of the whole process. Of several rounds the
least is told: other work on the machine only adds.
"""

import argparse
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path
from typing import Final

import uvloop
from typing_extensions import override

from tertulia import Agent, Session
from tertulia.llms.base import LLM, Finished, LLMEvent, Prompt, TextDelta
from tertulia.llms.wire import body
from tertulia.memory.reducers import TokenBudgetReducer

WINDOWS: Final = {1: (0, 5), 10: (7, 12), 100: (95, 105), 500: (495, 505)}
"""Which turns of a conversation are measured, by what they are called."""
KINDS: Final = ("memory", "memory, reduced", "sqlite")
"""Where it is kept what was said, and whether only the newest 12,000 tokens of it are shown."""
_QUESTION: Final = "q" * 120
_ANSWER: Final = "a" * 400
_CONTEXT_TOKENS: Final = 1_000_000


class _Instant(LLM):
    """Encodes what it is asked, and answers at once."""

    @property
    @override
    def name(self) -> str:
        return "instant"

    @property
    @override
    def window(self) -> int | None:
        return None

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        body.encode(self.name, prompt, body.Dialect())
        yield TextDelta(text=_ANSWER)
        yield Finished(text=_ANSWER, model=self.name)

    @override
    async def close(self) -> None:
        return


async def measure(agent: Agent, *, conversations: int, upto: int) -> dict[int, float]:
    """Return the CPU milliseconds of a run, by window."""
    costs: dict[int, float] = {}
    async with agent:
        await _say(agent, [agent.create_session()], turns=1)  # the first run opens the store
        sessions, done = [agent.create_session() for _ in range(conversations)], 0
        for mark, (first, last) in WINDOWS.items():
            if mark > upto:
                break
            await _say(agent, sessions, turns=first - done)
            begun = time.process_time()
            await _say(agent, sessions, turns=last - first)
            runs, done = (last - first) * conversations, last
            costs[mark] = (time.process_time() - begun) / runs * 1000
    return costs


async def _say(agent: Agent, sessions: Sequence[Session], *, turns: int) -> None:
    for _ in range(turns):
        for session in sessions:
            await agent.run(_QUESTION, session=session)


def least(kind: str, *, rounds: int, conversations: int, upto: int) -> dict[int, float]:
    """Return the least of several rounds, by window."""
    found: list[dict[int, float]] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            agent = _agent(kind, Path(folder))
            found.append(uvloop.run(measure(agent, conversations=conversations, upto=upto)))
    return {mark: min(each[mark] for each in found) for mark in found[0]}


def _agent(kind: str, folder: Path) -> Agent:
    return Agent(
        _Instant(),
        store=f"sqlite:///{folder / 'measured.db'}" if kind == "sqlite" else None,
        reducers=[TokenBudgetReducer(12_000)] if kind == "memory, reduced" else [],
        context_tokens=_CONTEXT_TOKENS,
    )


def table(found: dict[str, dict[int, float]]) -> Iterator[str]:
    """Yield the lines of the table."""
    marks = list(next(iter(found.values())))
    yield "CPU milliseconds of a run" + "".join(f"{f't{mark}':>8}" for mark in marks)
    for kind, costs in found.items():
        yield f"{kind:25}" + "".join(f"{costs[mark]:>8.3f}" for mark in marks)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.library", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured")
    parser.add_argument("--conversations", type=int, default=10)
    parser.add_argument("--upto", type=int, choices=list(WINDOWS), default=500, help="the last window")
    given = parser.parse_args(arguments)
    sizes = {"rounds": given.rounds, "conversations": given.conversations, "upto": given.upto}
    print("\n".join(table({kind: least(kind, **sizes) for kind in given.kinds})))


if __name__ == "__main__":
    main()
