"""What every reducer of ours promises, tried on any list of messages."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from tertulia.llms.base import Prompt
from tertulia.llms.scripted import ScriptedLLM
from tertulia.memory.counting import message_tokens
from tertulia.memory.reducers import (
    Reducer,
    ReducerChain,
    SummarizationReducer,
    TokenBudgetReducer,
    ToolResultReducer,
    TruncationReducer,
)
from tertulia.messages import Message
from tests.memory.reducers.talk import Talk, pairs, parts_in, places, talks


class Foreign(Reducer):
    """A reducer of somebody else's: no more than two user messages, and what follows the older."""

    @override
    async def reduce(self, messages: list[Message]) -> list[Message]:
        users = [place for place, each in enumerate(messages) if each.role == "user" and not each.stands_for]
        if len(users) <= 2:
            return messages
        return [
            m for place, m in enumerate(messages) if place >= users[-2] or m.role == "system" or m.stands_for
        ]


def _summed(_prompt: Prompt) -> str:
    return "they spoke"


def summarization(target: int, threshold: int = 0) -> SummarizationReducer:
    return SummarizationReducer(ScriptedLLM(_summed), target, threshold)


REDUCERS: Final[dict[str, Callable[[int, int], Reducer]]] = {
    "messages": lambda most, more: TruncationReducer(most, threshold=more),
    "tokens": lambda most, more: TruncationReducer(max_tokens=most * 8, threshold=more * 8),
    "budget": lambda most, more: TokenBudgetReducer((most + more) * 8, most * 8),
    "summary": summarization,
    "tool_results": lambda most, more: ToolResultReducer(most // 3, threshold=more // 2),
    "two": lambda most, more: ReducerChain(
        [ToolResultReducer(most // 3, threshold=more // 3), TokenBudgetReducer((most + more) * 8, most * 8)]
    ),
    "three": lambda most, more: ReducerChain(
        [ToolResultReducer(1), summarization(most, more), TruncationReducer(most * 2, threshold=3)]
    ),
    "summary_in_budget": lambda most, more: ReducerChain(
        [summarization(most, more), TokenBudgetReducer((most + more) * 9 + 80, most * 9 + 80)]
    ),
}
every_reducer = pytest.mark.parametrize("make", REDUCERS.values(), ids=REDUCERS)
sizes = given(messages=talks(), most=st.integers(1, 9), more=st.integers(0, 9))


def reduced(reducer: Reducer, messages: Sequence[Message]) -> list[Message]:
    return asyncio.run(reducer.reduce(list(messages)))


@every_reducer
@sizes
def test_no_call_is_parted_from_its_result(
    make: Callable[[int, int], Reducer], messages: list[Message], most: int, more: int
) -> None:
    shown = parts_in(reduced(make(most, more), messages))

    for called, answered, call_id in pairs(messages):
        assert ((called, "call", call_id) in shown) == ((answered, "result", call_id) in shown)


@every_reducer
@sizes
def test_system_messages_and_the_newest_user_message_stay(
    make: Callable[[int, int], Reducer], messages: list[Message], most: int, more: int
) -> None:
    shown = reduced(make(most, more), messages)

    users = [message for message in messages if message.role == "user"]
    assert [m for m in shown if m.role == "system"] == [m for m in messages if m.role == "system"]
    assert not users or users[-1] in shown
    others = [message for message in messages if message.role != "tool"]
    assert not others or shown[-1].role == "tool" or shown[-1] == others[-1]


@every_reducer
@sizes
def test_reducing_what_is_reduced_changes_nothing(
    make: Callable[[int, int], Reducer], messages: list[Message], most: int, more: int
) -> None:
    reducer = make(most, more)
    shown = reduced(reducer, messages)

    assert reduced(reducer, shown) == shown


@every_reducer
@given(
    messages=talks(),
    most=st.integers(1, 9),
    more=st.integers(0, 9),
    splits=st.lists(st.integers(0, 40), max_size=4).map(sorted),
)
def test_it_does_not_matter_how_often_it_is_reduced(
    make: Callable[[int, int], Reducer], messages: list[Message], most: int, more: int, splits: list[int]
) -> None:
    reducer, shown, begun = make(most, more), list[Message](), 0

    for split in [*splits, len(messages)]:
        shown = reduced(reducer, shown + messages[begun:split])
        begun = max(begun, split)

    assert shown == reduced(reducer, messages)


@every_reducer
@sizes
def test_order_stays(
    make: Callable[[int, int], Reducer], messages: list[Message], most: int, more: int
) -> None:
    shown = reduced(make(most, more), messages)

    numbers = [message.number for message in shown if not message.stands_for]
    assert numbers == sorted(set(numbers))


@every_reducer
@sizes
def test_what_a_user_has_begun_begins_with_a_user_however_much_is_cut(
    make: Callable[[int, int], Reducer], messages: list[Message], most: int, more: int
) -> None:
    begun = replace(Talk().user("hello"), id="msg_0", number=0)

    shown = reduced(make(most, more), [begun, *messages])

    first = next(message for message in shown if message.role != "system" and not message.stands_for)
    assert first.role == "user"


def _exceeds_only_by_what_stays(shown: list[Message], messages: list[Message]) -> bool:
    """Whether nothing is left but what no reducer cuts off."""
    loose = [m for m in shown if m.role != "system" and not m.stands_for]
    users = [m for m in loose if m.role == "user"]
    if users:
        return len(users) == 1 and loose[0] is users[0]
    return len({called for called, _, _ in pairs(loose)} | {m.id for m in loose if m.role != "tool"}) <= len(
        loose
    )


@sizes
def test_messages_are_no_more_than_allowed_but_for_the_newest_exchange(
    messages: list[Message], most: int, more: int
) -> None:
    shown = reduced(TruncationReducer(most, threshold=more), messages)

    assert len(shown) <= most + more or _exceeds_only_by_what_stays(shown, messages)


@sizes
def test_tokens_are_no_more_than_allowed_but_for_the_newest_exchange(
    messages: list[Message], most: int, more: int
) -> None:
    shown = reduced(TokenBudgetReducer((most + more) * 8, most * 8), messages)

    tokens = sum(message_tokens(message) for message in shown)
    assert tokens <= (most + more) * 8 or _exceeds_only_by_what_stays(shown, messages)


@sizes
def test_a_summary_names_all_that_it_stands_for(messages: list[Message], most: int, more: int) -> None:
    shown = reduced(summarization(most, more), messages)

    summaries = [message for message in shown if message.stands_for]
    named = [ident for summary in summaries for ident in summary.stands_for]
    called = {answered for _, answered, _ in pairs(messages)}
    expected = {m.id for m in messages if m.role != "tool" or m.id in called}
    assert len(summaries) <= 1
    assert {*named, *(m.id for m in shown if not m.stands_for)} <= expected
    assert {m.id for m in messages if m.role != "tool"} <= {*named, *places(shown)}
    assert len(named) == len(set(named))


@given(turns=st.integers(1, 60), most=st.sampled_from([2, 4, 6, 8]), more=st.integers(0, 9))
def test_between_cuts_the_beginning_stays_what_it_is(turns: int, most: int, more: int) -> None:
    reducer, talk, shown, cuts = TruncationReducer(most, threshold=more), Talk(), list[Message](), 0

    for turn in range(turns):
        said = [talk.user(f"q{turn}"), talk.assistant(f"a{turn}")]
        before, shown = shown, reduced(reducer, shown + said)
        cuts += shown[: len(before)] != before

    assert cuts <= 1 + 2 * turns // (more + 1)


@given(messages=talks(most=20))
def test_reducers_of_others_keep_the_laws_in_a_chain(messages: list[Message]) -> None:
    chain = ReducerChain([Foreign(), ToolResultReducer(1)])
    users = [message for message in messages if message.role == "user"]

    shown = reduced(chain, messages)

    assert reduced(chain, shown) == shown
    assert [m for m in shown if m.role == "user"] == users[-2:]
