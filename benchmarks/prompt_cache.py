"""How much of each prompt repeats the beginning of the one before, which providers then take from a cache.

A conversation of 500 turns, with messages as long as people's and models' are on average, within 16,000
tokens. Nothing is timed and no model is asked: tokens are estimated, and the same in every run.
"""

import argparse
import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from math import log
from typing import Final, TypeAlias

from typing_extensions import override

from tertulia import Agent
from tertulia.conversations import Conversation
from tertulia.ids import MESSAGE, new_id
from tertulia.llms.base import Prompt, Shown
from tertulia.llms.scripted import ScriptedLLM
from tertulia.memory.context.base import ContextProvider, RunContext
from tertulia.memory.reducers import (
    Reducer,
    ReducerChain,
    SummarizationReducer,
    TokenBudgetReducer,
    TruncationReducer,
)
from tertulia.memory.sessions import ProviderRun
from tertulia.memory.tokens import MESSAGE_TOKENS, estimate, tokens_of
from tertulia.memory.views.base import View
from tertulia.memory.views.log import LogView
from tertulia.memory.views.reduced import ReducedView
from tertulia.messages import Message, Role
from tertulia.parts import text_content
from tertulia.stores.base import Store
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import a_conversation

BUDGET: Final = 16_000
TURNS: Final = 500
CACHED_PRICE: Final = 0.1
"""What a token from the cache costs, for one that is read anew."""

_SEED: Final = 20_261_120
_OPENING: Final = (Shown(role="system", text="You are a patient adviser. " * 60),)
_MEANS: Final[dict[Role, float]] = {"user": 70, "assistant": 215}
"""Tokens of a message, on average, as in large published collections of chats."""
_SPREAD: Final = 0.9
"""Standard deviation of the logarithm: many short messages, and some very long ones."""
_LONGEST: Final = 3_000
_WORD: Final = estimate("word " * 100) / 100
_RECALLED: Final = (20, 400)
"""Words of what a context provider tells, at least and at most."""
_SUMMARY: Final = "They spoke about what to do next, and agreed on it. " * 16

Show: TypeAlias = Callable[[Conversation, Sequence[Message]], Awaitable[Sequence[Shown]]]
Asides: TypeAlias = Callable[[], Sequence[Sequence[dict[str, object]]]]
"""What a model was shown to sum it up, call by call."""
Way: TypeAlias = Callable[[Store], tuple[Show, Asides]]
Holds: TypeAlias = Callable[[int], Awaitable["Sent"]]
"""Holds a conversation of so many turns."""


@dataclass(slots=True)
class Sent:
    """What one way of showing a conversation has sent, added up."""

    prompts: int = 0
    tokens: int = 0
    repeated: int = 0
    """Of the tokens, those at the beginning that the prompt before began with as well."""
    cuts: int = 0
    """How often a prompt did not go on from all of the one before."""
    aside: int = 0
    """Tokens that were sent to make summaries."""
    once: int = 0
    """How many messages at the end of each prompt do not stand there in the next one."""
    _before: list[Shown] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Part of the prompts' tokens that repeats."""
        return self.repeated / self.tokens

    @property
    def paid(self) -> float:
        """Tokens as they are paid for, summaries included, if those that repeat cost less."""
        return self.tokens - (1 - CACHED_PRICE) * self.repeated + self.aside

    def add(self, prompt: Sequence[Shown]) -> None:
        """Count one more prompt."""
        same = [new for new, _ in takewhile(_is_same, zip(prompt, self._before, strict=False))]
        self.cuts += len(same) < len(self._before) - self.once
        self.prompts += 1
        self.tokens += sum(_tokens(shown) for shown in prompt)
        self.repeated += sum(_tokens(shown) for shown in same)
        self._before = list(prompt)


def _is_same(pair: tuple[Shown, Shown]) -> bool:
    return pair[0] == pair[1]


def _tokens(shown: Shown) -> int:
    return MESSAGE_TOKENS + estimate(shown.text)


def said(turns: int) -> Iterator[Message]:
    """Yield the messages of a conversation: a question and its answer for each turn."""
    drawn = random.Random(_SEED)
    for turn in range(turns):
        for role, mean in _MEANS.items():
            tokens = min(drawn.lognormvariate(log(mean) - _SPREAD**2 / 2, _SPREAD), _LONGEST)
            text = f"{turn} {'word ' * max(1, round(tokens / _WORD))}"
            yield Message(id=new_id(MESSAGE), role=role, content=text_content(text))


def _nothing() -> list[list[dict[str, object]]]:
    return []


def _sliding(store: Store) -> tuple[Show, Asides]:
    """Show as many of the newest messages as fit, each time."""

    async def show(row: Conversation, _newest: Sequence[Message]) -> Sequence[Shown]:
        shown, left = list[Shown](), BUDGET - sum(_tokens(each) for each in _OPENING)
        for message in await store.conversations.recent(0, row.id, upto=row.head, limit=BUDGET):
            left -= tokens_of(message.content)
            if left < 0:
                break
            shown.append(Shown(role=message.role, text=message.text))
        return [*_OPENING, *reversed(shown)]

    return show, _nothing


def _viewed(make: Callable[[Store], View]) -> Way:
    def way(store: Store) -> tuple[Show, Asides]:
        view, budget = make(store), BUDGET - sum(_tokens(each) for each in _OPENING)

        async def show(row: Conversation, newest: Sequence[Message]) -> Sequence[Shown]:
            return await view.show(row, newest=newest, budget=budget, opening=_OPENING)

        return show, _nothing

    return way


def _reduced(make: Callable[[], Reducer]) -> Way:
    return _viewed(lambda store: ReducedView(store.conversations, store.states, make()))


def _summed(store: Store) -> tuple[Show, Asides]:
    llm = ScriptedLLM(lambda _prompt: _SUMMARY)
    show, _ = _reduced(lambda: ReducerChain([SummarizationReducer(llm, 50, 50), TokenBudgetReducer(15_000)]))(
        store
    )
    return show, lambda: llm.prompts


def _held(way: Way) -> Holds:
    async def hold(turns: int) -> Sent:
        store, sent = InMemoryStore(), Sent()
        show, asides = way(store)
        row = await a_conversation(store)
        for message in said(turns):
            tokens = tokens_of(message.content)
            row = await store.conversations.append(0, row.id, [message], tokens=[tokens])
            if message.role == "user":
                newest = [replace(message, number=row.head)]
                sent.add(await show(row, newest))
        sent.aside = sum(estimate(str(seen["content"])) for prompt in asides() for seen in prompt)
        return sent

    return hold


class _Recalling(ContextProvider):
    """Tells something else before every answer, now little and now much."""

    def __init__(self) -> None:
        self._drawn = random.Random(_SEED)

    @override
    async def before_run(self, run: ProviderRun) -> RunContext:
        return RunContext(messages=["known " * self._drawn.randint(*_RECALLED)])


async def _accompanied(turns: int) -> Sent:
    """Hold the conversation with an agent that is told something before every answer."""
    sent = Sent(once=2)  # what was told, and the question, which then stands where that stood
    messages = said(turns)

    def answer(prompt: Prompt) -> str:
        sent.add(prompt.messages)
        return next(messages).text

    async with Agent(
        ScriptedLLM(answer),
        instructions=_OPENING[0].text,
        context_providers=[_Recalling()],
        context_tokens=BUDGET,
    ) as agent:
        session = agent.create_session()
        for question in messages:
            await agent.run(question.text, session=session)
    return sent


WAYS: Final[dict[str, Holds]] = {
    "sliding window": _held(_sliding),
    "Tertulia without a reducer": _held(_viewed(lambda store: LogView(store.conversations))),
    "the same with recalled messages": _accompanied,
    "TruncationReducer": _held(_reduced(lambda: TruncationReducer(50, threshold=50))),
    "TruncationReducer, no threshold": _held(_reduced(lambda: TruncationReducer(75))),
    "TokenBudgetReducer": _held(_reduced(lambda: TokenBudgetReducer(15_000, 10_000))),
    "SummarizationReducer": _held(_summed),
}


async def measure(name: str, *, turns: int = TURNS) -> Sent:
    """Hold the conversation one way; every question sends a prompt."""
    return await WAYS[name](turns)


def table(found: dict[str, Sent]) -> Iterator[str]:
    """Yield the lines of the table."""
    turns = next(iter(found.values())).prompts
    yield f"estimated tokens sent in {turns} turns within {BUDGET:,}; asides: what summaries were made of;"
    yield f"paid: all of them, if those that repeat the prompt before cost {CACHED_PRICE:.0%}"
    yield f"{'':33}{'sent':>12}{'repeated':>10}{'cuts':>6}{'asides':>10}{'paid':>12}"
    for name, sent in found.items():
        yield (
            f"{name:33}{sent.tokens:>12,}{sent.share:>10.1%}{sent.cuts:>6}{sent.aside:>10,}{sent.paid:>12,.0f}"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prompt_cache", description=__doc__)
    parser.add_argument("--turns", type=int, default=TURNS)
    turns = parser.parse_args(arguments).turns
    found = {name: asyncio.run(measure(name, turns=turns)) for name in WAYS}
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
