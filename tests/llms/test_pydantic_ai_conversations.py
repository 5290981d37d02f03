"""No conversation is too strange to be shown to a model of any provider, and none loses anything."""

import asyncio
from collections.abc import Callable
from re import Pattern

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tertulia.definitions import ToolSpec
from tertulia.llms.base import Finished, Prompt
from tertulia.llms.by_pydantic_ai.call_ids import CallIds
from tertulia.llms.by_pydantic_ai.manners import MANNERS
from tertulia.llms.by_pydantic_ai.plug import PydanticAILLM
from tertulia.llms.options import ModelName
from tertulia.testing.llm_contract import heard
from tests.llms.conversations import Marked, conversations, marks_of
from tests.llms.wire_server import MODELS, WireServer

TOOLS = (ToolSpec(name="weather"), ToolSpec(name="find-it"))

each_provider = pytest.mark.parametrize("provider", sorted(MODELS))
Ask = Callable[[Prompt], tuple[Finished, object]]


def with_a_model(provider: str, check: Callable[[Ask], None]) -> None:
    """Run a check that may ask a model as often as it likes, in one event loop."""
    with asyncio.Runner() as runner:
        server = runner.run(WireServer(provider).__aenter__())
        name = ModelName(provider, MODELS[provider])
        llm = PydanticAILLM(name, server.options)

        def ask(prompt: Prompt) -> tuple[Finished, object]:
            whole = runner.run(heard(llm, prompt))[-1]
            assert isinstance(whole, Finished)
            return whole, server.bodies.pop()

        try:
            check(ask)
        finally:
            runner.run(llm.close())
            runner.run(server.__aexit__())


@each_provider
def test_every_conversation_is_accepted_and_keeps_all_in_order(provider: str) -> None:
    def check(ask: Ask) -> None:
        @given(marked=conversations(), has_tools=st.booleans(), wants_deltas=st.booleans())
        @settings(max_examples=60)
        def holds(marked: Marked, *, has_tools: bool, wants_deltas: bool) -> None:
            tools = TOOLS if has_tools else ()

            # The server refuses what its provider's documentation does not allow.
            _, body = ask(Prompt(messages=marked.shown, tools=tools, wants_deltas=wants_deltas))

            assert marks_of(body) == list(marked.marks)
            assert b"never shown" not in orjson.dumps(body)

        holds()

    with_a_model(provider, check)


@each_provider
def test_same_conversation_is_sent_as_the_same_bytes(provider: str) -> None:
    def check(ask: Ask) -> None:
        @given(marked=conversations())
        @settings(max_examples=20)
        def holds(marked: Marked) -> None:
            _, first = ask(Prompt(messages=marked.shown, tools=TOOLS))
            _, again = ask(Prompt(messages=marked.shown, tools=TOOLS))

            assert orjson.dumps(first) == orjson.dumps(again)

        holds()

    with_a_model(provider, check)


@given(
    ids=st.lists(st.text(max_size=3) | st.sampled_from(["call_1", "aB3dE5gH7"])),
    fitting=st.sampled_from(sorted({m.call_id for m in MANNERS.values()}, key=lambda p: p.pattern)),
)
def test_ids_of_calls_fit_and_differ_and_results_have_the_same(ids: list[str], fitting: Pattern[str]) -> None:
    given_ids = CallIds(fitting)

    made = []
    for call_id in ids:
        made.append(given_ids.of_call(call_id))
        assert given_ids.of_result(call_id) == made[-1]

    assert len(set(made)) == len(made)
    assert all(fitting.fullmatch(each) for each in made)
    seen: set[str] = set()
    for call_id, each in zip(ids, made, strict=True):
        assert each == call_id or call_id in seen or not fitting.fullmatch(call_id)
        seen |= {call_id, each}
