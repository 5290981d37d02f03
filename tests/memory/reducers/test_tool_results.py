"""Old results of tools as one line."""

from collections.abc import Callable

import pytest

from tertulia.errors import InvalidInput
from tertulia.memory.reducers import ReducerChain, ToolResultReducer, TruncationReducer
from tertulia.messages import Message
from tertulia.parts import ToolResult
from tests.memory.reducers.talk import Talk

LONG = "found " * 100


def used(talk: Talk, *call_ids: str, text: str = LONG) -> list[Message]:
    return [
        talk.user(),
        talk.call(*call_ids),
        *(talk.result(each, text) for each in call_ids),
        talk.assistant(),
    ]


def results(messages: list[Message]) -> list[str]:
    return [part.text for message in messages for part in message.content if isinstance(part, ToolResult)]


LINE = "[the result of tool_x is left out: 600 characters]"


async def test_all_but_the_newest_uses_collapse_to_a_line() -> None:
    talk = Talk()
    messages = used(talk, "x") + used(talk, "x") + used(talk, "x")

    shown = await ToolResultReducer(1).reduce(messages)

    assert results(shown) == [LINE, LINE, LONG]
    assert [m for m in shown if m.role != "tool"] == [m for m in messages if m.role != "tool"]
    assert [m.id for m in shown] == [m.id for m in messages]


async def test_calls_made_at_once_count_as_one_use() -> None:
    talk = Talk()
    messages = used(talk, "x") + used(talk, "x", "y", "z")

    shown = await ToolResultReducer(1).reduce(messages)

    assert results(shown) == [LINE, LONG, LONG, LONG]


async def test_short_results_stay() -> None:
    talk = Talk()
    messages = used(talk, "x", text="yes") + used(talk, "y")

    shown = await ToolResultReducer(0).reduce(messages)

    assert results(shown) == ["yes", LINE.replace("_x", "_y")]


async def test_with_a_threshold_several_collapse_at_once() -> None:
    talk, reducer = Talk(), ToolResultReducer(1, threshold=2)
    messages = [said for _ in range(4) for said in used(talk, "x")]

    assert await reducer.reduce(messages[:12]) == messages[:12]
    assert results(await reducer.reduce(messages)) == [LINE, LINE, LINE, LONG]


async def test_a_result_that_comes_late_to_an_old_use_collapses_too() -> None:
    talk = Talk()
    messages = [talk.user(), talk.call("x"), *used(talk, "y"), talk.result("x", LONG)]

    shown = await ToolResultReducer(1).reduce(messages)

    assert results(shown) == [LONG, LINE]


async def test_after_older_uses_were_cut_off_the_newest_still_count() -> None:
    talk = Talk()
    messages = used(talk, "x") + used(talk, "x") + used(talk, "x")

    shown = await ReducerChain([TruncationReducer(8), ToolResultReducer(1)]).reduce(messages)

    assert results(shown) == [LINE, LONG]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ToolResultReducer(-1), "keep_last is a whole number, 0 or more"),
        (lambda: ToolResultReducer(1, threshold=-1), "threshold is a whole number, 0 or more"),
        (lambda: ReducerChain([]), "one reducer at least"),
    ],
)
def test_wrong_numbers_are_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        make()
