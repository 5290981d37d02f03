"""Models, providers and tools that tests of agents speak with."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Iterable, Sequence

from typing_extensions import override

from tertulia.agent import Agent, Session
from tertulia.errors import ModelUnreachable
from tertulia.llms.base import Finished, LLMEvent, Prompt, TextDelta
from tertulia.llms.scripted import Script, ScriptedLLM
from tertulia.memory.context.base import ContextProvider, RunContext
from tertulia.memory.history.base import HistoryProvider
from tertulia.memory.sessions import Outcome, ProviderRun, ProviderSession
from tertulia.messages import Message
from tertulia.stores.in_memory import InMemoryStore


def echo(prompt: Prompt) -> str:
    """Answer with what was said last."""
    return next(shown.text for shown in reversed(prompt.messages) if shown.role == "user")


class SlowLLM(ScriptedLLM):
    """Says a first word, and the rest when it is let; knows whether it was left."""

    def __init__(self, replies: Script = echo) -> None:
        super().__init__(replies)
        self.reached, self.let, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        try:
            yield TextDelta("")
            self.reached.set()
            await self.let.wait()
            async for event in super().stream(prompt):
                yield event
        except (GeneratorExit, asyncio.CancelledError):
            self.left.set()
            raise


class BrokenLLM(ScriptedLLM):
    """Breaks off in the middle of every answer, as a cut connection does."""

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        async for event in super().stream(prompt):
            if isinstance(event, Finished):
                raise ModelUnreachable("the connection was cut")
            yield event


class Knowing(ContextProvider):
    """Knows what it is told to, and takes down what it was asked and told."""

    def __init__(
        self,
        context: RunContext | Exception | None = None,
        *,
        name: str = "knowing",
        diary: list[str] | None = None,
        fails_after: Exception | None = None,
    ) -> None:
        self.context, self._name, self._fails_after = context, name, fails_after
        self.diary = [] if diary is None else diary
        self.runs: list[ProviderRun] = []
        self.outcomes: list[Outcome] = []

    @property
    @override
    def name(self) -> str:
        return self._name

    @override
    async def before_run(self, run: ProviderRun) -> RunContext | None:
        self.diary.append(f"before {self._name}")
        self.runs.append(run)
        if isinstance(self.context, Exception):
            raise self.context
        return self.context

    @override
    async def after_run(self, run: ProviderRun, outcome: Outcome) -> None:
        self.diary.append(f"after {self._name}")
        self.outcomes.append(outcome)
        if self._fails_after is not None:
            raise self._fails_after


class Remembering(ContextProvider):
    """Remembers everything that a user has ever said, and tells it in each run."""

    @override
    async def before_run(self, run: ProviderRun) -> RunContext | None:
        known = run.user_state.get("said", [])
        return RunContext(messages=[f"Remembered: {text}" for text in known])

    @override
    async def after_run(self, run: ProviderRun, outcome: Outcome) -> None:
        run.user_state["said"] = [*run.user_state.get("said", []), run.input.text]


class Notebook(HistoryProvider):
    """Keeps histories in a dictionary, and fails as often as it is told to."""

    def __init__(self, *, name: str = "Notebook", failures: int = 0) -> None:
        self._name, self.failures = name, failures
        self.kept: dict[str, list[Message]] = {}

    @property
    @override
    def name(self) -> str:
        return self._name

    @override
    async def load(self, session: ProviderSession) -> list[Message]:
        return list(self.kept.get(session.id, []))

    @override
    async def append(self, session: ProviderSession, messages: Sequence[Message]) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("the pencil is broken")
        page = self.kept.setdefault(session.id, [])
        ids = {message.id for message in page}
        page += [message for message in messages if message.id not in ids]

    def texts(self) -> list[str]:
        """Return what it keeps, of all sessions."""
        return [message.text for page in self.kept.values() for message in page]


async def texts(session: Session) -> list[str]:
    """Return the texts of all that was said in a session."""
    return [message.text for message in await session.messages()]


def shown(prompt: Iterable[dict[str, object]]) -> list[object]:
    """Return the texts that a model was shown in one call."""
    return [each["content"] for each in prompt]


def roles(prompt: Iterable[dict[str, object]]) -> list[object]:
    """Return by whom the texts are that a model was shown in one call."""
    return [each["role"] for each in prompt]


def left_in_memory(agent: Agent) -> int:
    """Return how many conversations an agent keeps in the memory of this process."""
    gc.collect()
    memory = agent._host.memory
    assert isinstance(memory, InMemoryStore)
    return len(memory._state.rooms[0].logs)
