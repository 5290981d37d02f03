"""What an agent takes into its turn: room for its prompt, and time for its steps."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from typing_extensions import override

from tertulia.agent_settings import ModelSettings
from tertulia.definitions import StoredAgent
from tertulia.engine import ActiveRun, Plan, StepResult
from tertulia.llms.scripted import ScriptedLLM
from tertulia.memory.context.base import ContextProvider
from tertulia.memory.states import States
from tertulia.parts import ToolCall
from tertulia.stores.in_memory import InMemoryStore
from tertulia.tools.functions import tool
from tertulia.turn import Speaker, Windows
from tertulia.turn.speaker import Beside, instructed, persona
from tests.turn.kitchen import DEFINITION, a_kitchen

AGENT = StoredAgent(id="agt", tenant=0, version=1, definition=DEFINITION, created_at=0)


class Windowed(ScriptedLLM):
    """A model whose window is known."""

    def __init__(self, window: int | None) -> None:
        super().__init__([], name="windowed")
        self._window = window

    @property
    @override
    def window(self) -> int | None:
        return self._window


@pytest.mark.parametrize(
    ("window", "max_tokens", "room"),
    [
        (None, None, 16_000),
        (100_000, None, 16_000),
        (8_000, None, 8_000 - 512),
        (8_000, 100, 7_900),
        (8_000, 7_000, 6_000),
        (1_000, None, 750),
    ],
)
def test_prompt_leaves_room_for_the_answer(window: int | None, max_tokens: int | None, room: int) -> None:
    speaker = a_speaker(Windowed(window), max_tokens=max_tokens)

    assert speaker.room == room


def test_model_that_has_taken_no_more_is_shown_no_more() -> None:
    windows, llm = Windows(), Windowed(None)
    speaker = a_speaker(llm, windows=windows)

    windows.learn(llm, 3_000)

    assert speaker.room == 3_000
    assert a_speaker(ScriptedLLM([], name="other"), windows=windows).room == 16_000


class Silent(ContextProvider):
    """Knows nothing."""


@pytest.mark.parametrize(
    ("providers", "window", "reserve"),
    [((), None, 0), ((Silent(),), None, 4_000), ((Silent(),), 8_000, (8_000 - 512) // 4)],
)
def test_quarter_of_the_room_is_left_to_context_providers_if_there_are_any(
    providers: tuple[ContextProvider, ...], window: int | None, reserve: int
) -> None:
    store = InMemoryStore()
    beside = Beside(context_providers=providers, states=States(store.states), log=store.conversations)
    windows, llm = Windows(), Windowed(window)

    speaker = replace(a_speaker(llm, windows=windows), beside=beside)
    before = speaker.reserve
    windows.learn(llm, 3_000)

    # What was learnt of a model leaves the reserve as it is, or the history would begin elsewhere.
    assert (before, speaker.reserve) == (reserve, reserve)
    assert replace(speaker, beside=None).reserve == 0


def test_instructions_of_runs_come_after_the_agents_own_and_are_not_kept_in_mind() -> None:
    known = persona(AGENT, "Hi.")
    before = persona.cache_info().currsize

    ruled = [instructed(AGENT, "Hi.", (f"Rule {run}.", "Be exact.")) for run in range(3)]

    assert persona.cache_info().currsize == before
    assert instructed(AGENT, "Hi.", ("Rule 0.", "Be exact.")) is not ruled[0]
    assert [each.system for each in ruled] == [
        f"{known.system}\n\nRule {run}.\n\nBe exact." for run in range(3)
    ]
    assert {each.own_tokens for each in ruled} == {known.own_tokens}
    assert instructed(AGENT, "Hi.", ()) is known


def a_speaker(llm: ScriptedLLM, *, max_tokens: int | None = None, windows: Windows | None = None) -> Speaker:
    return Speaker(
        agent=AGENT,
        llm=llm,
        settings=ModelSettings(max_tokens=max_tokens),
        context_tokens=16_000,
        call_seconds=60,
        windows=windows or Windows(),
    )


@pytest.mark.parametrize(("first_message", "roles"), [("", ["system"]), ("Hi.", ["system", "assistant"])])
def test_opening_is_shown_only_if_there_is_one(first_message: str, roles: list[str]) -> None:
    known = persona(AGENT, first_message)

    assert [shown.role for shown in known.opening] == roles


async def test_steps_say_how_long_they_take_and_whether_they_do_harm_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plans: dict[str, Plan] = {}
    step = ActiveRun.step

    async def noted(
        run: ActiveRun, path: str, work: Callable[[], Awaitable[StepResult]], plan: Plan
    ) -> StepResult:
        plans[path] = plan
        return await step(run, path, work, plan)

    @tool(within_seconds=100, is_idempotent=True)
    def look() -> str:
        """Look."""
        return "seen"

    @tool(within_seconds=200, on_unknown="fail")
    def pay() -> str:
        """Pay."""
        return "paid"

    monkeypatch.setattr(ActiveRun, "step", noted)
    calls = [ToolCall(id=name, name=name, arguments="{}") for name in ("look", "pay", "none")]
    async with a_kitchen([calls, "Done."], tools=[look, pay]) as kitchen:
        await kitchen.ask("Go.", timeout=7)

    assert [plans[f"turn/1/model/{call}"].within_seconds for call in (1, 2)] == [7, 7]
    looks, pays, unknown = (plans[f"turn/1/tool/1/{place}"] for place in (1, 2, 3))
    assert 100 < looks.within_seconds < 130
    assert 200 < pays.within_seconds < 230
    assert (looks.has_effect, pays.has_effect, unknown.has_effect) == (False, True, False)
    assert pays.on_unknown == "fail"
    assert len({plan.identity for plan in plans.values()}) == len(plans)
