"""What context providers give for a run: put together, kept, and cut to its room."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.memory.context.base import RunContext
from tertulia.memory.tokens import MESSAGE_TOKENS, estimate
from tertulia.messages import Message
from tertulia.tools.functions import tool
from tertulia.turn.briefing import NOTHING, Briefing


@tool(is_idempotent=True)
def look() -> str:
    """Look."""
    return "seen"


def other() -> str:
    """Look, too."""
    return "seen"


words = st.lists(st.sampled_from(["", "word", "word " * 20, "文字 " * 9]), max_size=5)


def a_briefing(instructions: list[str], messages: list[str]) -> Briefing:
    return Briefing.of(
        [RunContext(instructions=text) for text in instructions] + [RunContext(messages=messages)]
    )


def test_contexts_are_put_together_in_their_order() -> None:
    said = Message.from_dict({"role": "assistant", "content": "b"})
    contexts = [
        RunContext(instructions="1", messages=["a", said], tools=[look]),
        RunContext(instructions=" \n"),
        RunContext(instructions="2", messages=["c"], tools=[other, look]),
    ]

    briefing = Briefing.of(contexts)

    assert briefing.instructions == ("1", "2")
    assert [(shown.role, shown.text) for shown in briefing.shown] == [
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
    ]
    assert list(briefing.tools) == ["look", "other"]
    assert briefing.has_tools


def test_nothing_is_nothing() -> None:
    assert Briefing.of([]) == Briefing.of([RunContext()]) == NOTHING
    assert Briefing.of_kept(None) is None
    assert Briefing.of_kept('{"text": "an answer without a briefing"}') is None


@given(instructions=words, messages=words)
def test_briefing_is_the_same_after_it_was_kept(instructions: list[str], messages: list[str]) -> None:
    briefing = a_briefing(instructions, messages)

    kept = orjson.dumps({"briefing": briefing.kept()}).decode()

    assert Briefing.of_kept(kept) == briefing


def test_that_there_were_tools_is_kept_and_not_the_tools() -> None:
    kept = orjson.dumps({"briefing": Briefing.of([RunContext(tools=[look])]).kept()}).decode()

    found = Briefing.of_kept(kept)

    assert found is not None
    assert (found.has_tools, found.tools) == (True, {})


@given(instructions=words, messages=words, room=st.integers(0, 200))
def test_what_is_left_is_the_beginning_and_fits(
    instructions: list[str], messages: list[str], room: int
) -> None:
    whole = a_briefing(instructions, messages)

    cut, left_out = whole.within(room)

    count = len(cut.instructions) + len(cut.shown)
    assert cut.instructions == whole.instructions[: len(cut.instructions)]
    assert cut.shown == whole.shown[: len(cut.shown)]
    assert not cut.shown or cut.instructions == whole.instructions
    assert cut.tokens + sum(map(estimate, cut.instructions)) <= room
    assert count + left_out == len(whole.instructions) + len(whole.shown)
    if left_out:
        texts = [*whole.instructions, *(shown.text for shown in whole.shown)]
        more = estimate(texts[count]) + (MESSAGE_TOKENS if count >= len(whole.instructions) else 0)
        assert cut.tokens + sum(map(estimate, cut.instructions)) + more > room
    else:
        assert cut is whole


@pytest.mark.parametrize("messages", [[], ["word " * 100]])
def test_tools_stay_when_texts_are_left_out(messages: list[str]) -> None:
    briefing = Briefing.of([RunContext(messages=messages, tools=[look])])

    cut, left_out = briefing.within(10)

    assert left_out == len(messages)
    assert (cut.has_tools, list(cut.tools)) == (True, ["look"])
