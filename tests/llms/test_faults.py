"""Whatever a provider does: a run ends in time, with an answer or an error of ours, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import pytest
from typing_extensions import override

from tertulia.agent.stored import PERFORMER, AgentPerformer
from tertulia.agent_settings import ModelSettings
from tertulia.conversations import DEFAULT_TENANT, Conversation, Run, RunStatus
from tertulia.errors import (
    ContextTooLong,
    ModelBusy,
    ModelError,
    ModelMalformed,
    ModelRefused,
    ModelTimeout,
    ModelUnreachable,
)
from tertulia.ids import AGENT, new_id
from tertulia.llms.base import LLM
from tertulia.llms.limited import Limited
from tertulia.llms.models import ModelNames, Models
from tertulia.llms.openai_chat import OpenAIChat
from tertulia.llms.openai_responses import OpenAIResponses
from tertulia.llms.retrying import Retrying
from tertulia.runtime import RunOptions, Runtime
from tertulia.stores import open_store
from tertulia.testing.builders import a_conversation, a_definition
from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.faults import KINDS

KEY: Final = "sk-very-private"
SECONDS: Final = 10.0
"""What a call may take."""
SHORT: Final = 0.3
"""What it may take where it is known to take too long."""
GRACE: Final = 2.0
ATTEMPTS: Final = 3


async def at_once(_seconds: float) -> None:
    """Wait as long as a test may."""
    await asyncio.sleep(0)


@dataclass(frozen=True)
class Wire:
    """One way to ask the fake server."""

    plug: Callable[[str], LLM]
    settings: ModelSettings = ModelSettings()
    deltas: bool = False


def chat(url: str) -> LLM:
    return OpenAIChat("m", base_url=url, api_key=KEY)


def responses(url: str) -> LLM:
    return OpenAIResponses("m", base_url=url, api_key=KEY, pause=at_once)


WIRES: Final = {
    "chat": Wire(chat),
    "chat, streamed": Wire(chat, deltas=True),
    "responses": Wire(responses),
    "responses, streamed": Wire(responses, deltas=True),
    "responses, kept": Wire(responses, ModelSettings(store=True)),
    "responses, in the background": Wire(responses, ModelSettings(background=True), deltas=True),
}
"""All of them, by name."""


class OneModel(Models):
    """Gives the same model whatever is asked for."""

    def __init__(self, llm: LLM) -> None:
        super().__init__("scripted:echo")
        self._llm = llm

    @override
    def get(self, wanted: ModelNames) -> LLM:
        return self._llm

    @override
    async def close(self) -> None:
        await self._llm.close()


@dataclass(frozen=True)
class Talk:
    """A conversation with an agent whose model is the fake server's."""

    runtime: Runtime
    conversation: Conversation
    wire: Wire

    async def say(self, text: str, *, seconds: float = SECONDS) -> Run:
        """Say something; return the run when it has ended, which it must do in time."""
        options = RunOptions(deltas=self.wire.deltas, settings=ModelSettings(timeout=seconds))
        ticket = await self.runtime.submit(text, conversation=self.conversation.id, options=options)
        async with asyncio.timeout(seconds + GRACE):
            async for _ in ticket.events():
                pass
        return await self.runtime.store.runs.get(DEFAULT_TENANT, ticket.run.id)

    async def said(self) -> list[tuple[str, str]]:
        """Return who has said what."""
        messages = await self.runtime.store.conversations.messages(DEFAULT_TENANT, self.conversation.id)
        return [(message.role, message.text) for message in messages]


@asynccontextmanager
async def a_talk(fake: FakeOpenAI, wire: Wire, url: str) -> AsyncIterator[Talk]:
    """Begin a conversation in a store."""
    plug = wire.plug(fake.base_url)
    asked = Retrying(plug, attempts=ATTEMPTS, budget_seconds=SECONDS, pause=at_once)
    models = OneModel(Limited(asked, whole=SECONDS))
    store = open_store(url)
    performer = AgentPerformer(store, models, context_tokens=100_000, call_seconds=SECONDS)
    runtime = Runtime(store, {PERFORMER: performer})
    await runtime.start()
    try:
        definition = replace(a_definition(), settings=wire.settings)
        agent = await store.agents.create(DEFAULT_TENANT, new_id(AGENT), definition)
        yield Talk(runtime, await a_conversation(store, agent), wire)
    finally:
        await runtime.stop()
        await models.close()


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI(reply_chars=40) as server:
        yield server


@pytest.fixture(params=list(WIRES))
def wire(request: pytest.FixtureRequest) -> Wire:
    return WIRES[request.param]


@pytest.fixture
async def talk(wire: Wire, fake: FakeOpenAI) -> AsyncIterator[Talk]:
    async with a_talk(fake, wire, "memory://") as begun:
        yield begun


LASTING: Final[dict[str, type[ModelError]]] = {
    "400": ModelRefused,
    "401": ModelRefused,
    "404": ModelRefused,
    "408": ModelTimeout,
    "429": ModelBusy,
    "500": ModelUnreachable,
    "503": ModelBusy,
    "close": ModelUnreachable,
    "drip": ModelTimeout,
    "empty": ModelMalformed,
    "error-event": ModelUnreachable,
    "failed": ModelUnreachable,
    "garbage-sse": ModelMalformed,
    "hang": ModelTimeout,
    "malformed": ModelMalformed,
    "quota": ModelRefused,
    "refusal": ModelRefused,
    "stall": ModelTimeout,
    "too-long": ContextTooLong,
}
"""What a run fails with when a fault is there to stay."""
ENDLESS: Final = frozenset({"drip", "hang", "stall"})
"""Faults that nothing but a limit puts an end to."""
FINAL: Final = frozenset({"400", "401", "404", "quota", "refusal"})
"""Faults that asking again is of no use for."""
HARMLESS: Final = frozenset(
    {
        *("bad-utf8", "gone", "huge", "no-background", "no-store", "no-stream-options"),
        *("nul", "plain", "slow"),
    }
)
"""Faults that an answer comes through."""
CUT: Final = frozenset({"cut"})
"""What depends on how much was said before it."""
ALONE: Final = "responses, in the background"
only_alone: Final = pytest.mark.parametrize("wire", [WIRES[ALONE]], ids=[ALONE])


def seconds_for(kind: str) -> float:
    return SHORT if kind in ENDLESS else SECONDS


def test_every_fault_has_its_place() -> None:
    assert LASTING.keys() | HARMLESS | CUT == KINDS


@pytest.mark.parametrize("kind", sorted(LASTING))
async def test_fault_that_stays_fails_the_run_and_loses_nothing(
    fake: FakeOpenAI, talk: Talk, kind: str
) -> None:
    fake.fault(kind, times=None)
    failed = await talk.say("first [[1]]", seconds=seconds_for(kind))
    fake.clear_faults()

    answered = await talk.say("second [[2]]")

    assert failed.status is RunStatus.FAILED
    assert failed.failure is not None
    assert failed.failure.code == LASTING[kind].code
    assert not any(secret in failed.failure.message for secret in ("SECRET", KEY, "first"))
    assert answered.status is RunStatus.COMPLETED
    first, second, answer = await talk.said()
    assert (first, second) == (("user", "first [[1]]"), ("user", "second [[2]]"))
    assert answer[1].startswith("m=2 ")


@pytest.mark.parametrize(
    ("wire", "kind"),
    [
        pytest.param(wire, kind, id=f"{name}-{kind}")
        for name, wire in WIRES.items()
        for kind in sorted((LASTING.keys() | CUT) - ENDLESS - FINAL)
        # Whatever the provider has finished by itself is the answer, be it empty.
        if (name, kind) != (ALONE, "empty")
    ],
)
async def test_fault_that_passes_costs_no_more_than_new_attempts(
    fake: FakeOpenAI, talk: Talk, kind: str
) -> None:
    fake.fault(kind, retry_after=0, tokens=0)

    answered = await talk.say("first [[1]]")

    assert answered.status is RunStatus.COMPLETED
    assert fake.calls <= ATTEMPTS
    asked, answer = await talk.said()
    assert asked == ("user", "first [[1]]")
    assert answer[1].startswith("m=1 ")


@pytest.mark.parametrize("kind", sorted(FINAL))
async def test_refusal_is_not_asked_for_again(fake: FakeOpenAI, talk: Talk, kind: str) -> None:
    fake.fault(kind, times=None)

    await talk.say("first [[1]]")

    assert fake.calls == 1


@pytest.mark.parametrize("kind", sorted(HARMLESS))
async def test_answer_comes_through_what_does_no_harm(fake: FakeOpenAI, talk: Talk, kind: str) -> None:
    fake.fault(kind, times=None, seconds=0.01)

    runs = [await talk.say(text) for text in ("first [[1]]", "second [[2]]")]

    assert [run.status for run in runs] == [RunStatus.COMPLETED] * 2
    assert [role for role, _ in await talk.said()] == ["user", "assistant"] * 2


@pytest.mark.parametrize(
    "wire", [WIRES["chat, streamed"], WIRES["responses, streamed"]], ids=["chat", "responses"]
)
async def test_what_was_begun_aloud_is_not_begun_anew(fake: FakeOpenAI, talk: Talk) -> None:
    fake.fault("cut", tokens=3)

    failed = await talk.say("first [[1]]")

    assert failed.failure is not None
    assert failed.failure.code == ModelUnreachable.code
    assert fake.calls == 1
    assert await talk.said() == [("user", "first [[1]]")]


@only_alone
@pytest.mark.parametrize("tokens", [0, 1, 5, None])
@pytest.mark.parametrize("after", ["", "close", "cut", "500", "503"])
async def test_what_works_alone_outlives_its_connection(
    fake: FakeOpenAI, talk: Talk, tokens: int | None, after: str
) -> None:
    fake.fault("cut", tokens=tokens)
    if after:
        fake.fault(after, on="fetch", tokens=tokens, retry_after=0)

    answered = await talk.say("first [[1]]")

    assert answered.status is RunStatus.COMPLETED
    assert (fake.calls, fake.working) == (1, 0)
    assert (await talk.said())[1][1].startswith("m=1 ")


@only_alone
async def test_what_works_alone_and_is_forgotten_is_asked_for_again(fake: FakeOpenAI, talk: Talk) -> None:
    fake.fault("cut", tokens=0)
    fake.fault("gone", on="fetch")

    answered = await talk.say("first [[1]]")

    assert answered.status is RunStatus.COMPLETED
    assert fake.calls == 2


async def test_forgotten_answers_are_told_again(fake: FakeOpenAI, talk: Talk) -> None:
    first = await talk.say("first [[1]]")
    fake.expire()

    second = await talk.say("second [[2]]")

    assert [run.status for run in (first, second)] == [RunStatus.COMPLETED] * 2
    assert (await talk.said())[3][1].startswith("m=2 ")


async def test_conversation_on_disk_outlives_every_fault(
    fake: FakeOpenAI, wire: Wire, sqlite_url: str
) -> None:
    async with a_talk(fake, wire, sqlite_url) as talk:
        for kind in sorted(LASTING):
            fake.fault(kind, times=None)
            await talk.say(f"[[{kind}", seconds=seconds_for(kind))
            fake.clear_faults()
        answered = await talk.say("[[last")
        said = await talk.said()

    assert answered.status is RunStatus.COMPLETED
    assert [text for _, text in said[:-1]] == [*(f"[[{kind}" for kind in sorted(LASTING)), "[[last"]
    assert said[-1][1].startswith(f"m={len(LASTING) + 1} ")
