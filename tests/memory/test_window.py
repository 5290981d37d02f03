"""Where the shown history starts."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis.strategies import DrawFn, composite, integers, lists, sampled_from, tuples

from tertulia.memory.window import WHOLE, Cut, Sized, find_cut, floor_of, move_cut
from tertulia.messages import Role

BUDGET = 100
ROLES: tuple[Role, ...] = ("user", "assistant", "tool")


def a_log(*tokens: int) -> list[Sized]:
    """Return a log in which user and assistant take turns."""
    roles: tuple[Role, Role] = ("user", "assistant")
    return [Sized(number=i + 1, role=roles[i % 2], tokens=t) for i, t in enumerate(tokens)]


def start_of(log: Sequence[Sized], *, budget: int = BUDGET) -> Cut:
    found = find_cut(log[::-1], total=sum(m.tokens for m in log), budget=budget)
    assert found is not None
    return found


def shown_tokens(log: Sequence[Sized], cut: Cut) -> int:
    return sum(m.tokens for m in log if m.number >= cut.start)


@composite
def logs(draw: DrawFn, *, min_size: int = 0) -> list[Sized]:
    """Any log: runs may fail, so that user messages follow each other, and tools may speak."""
    roles = sampled_from(ROLES)
    said = draw(lists(tuples(roles, integers(0, 60)), min_size=min_size, max_size=40))
    return [Sized(number=i + 1, role=role, tokens=tokens) for i, (role, tokens) in enumerate(said)]


def test_a_log_that_fits_is_shown_whole() -> None:
    log = a_log(50, 50)

    cut = start_of(log)

    assert cut == WHOLE


def test_an_empty_log_is_shown_whole() -> None:
    assert find_cut([], total=0, budget=BUDGET) == WHOLE


def test_a_log_that_has_outgrown_the_budget_loses_whole_exchanges() -> None:
    log = a_log(20, 20, 20, 20, 20, 20)

    cut = start_of(log)

    assert cut == Cut(start=3, before=40)


def test_the_start_stays_while_the_log_grows_inside_a_block() -> None:
    log = a_log(*[5] * 200)

    starts = [start_of(log[: length + 1]).start for length in range(len(log))]

    moves = sum(before != after for before, after in pairwise(starts))
    assert moves == len(log) * 5 // (BUDGET // 4) - 4


def test_the_newest_user_message_is_shown_even_if_it_is_longer_than_the_budget() -> None:
    log = a_log(10, 10, 500)

    cut = start_of(log)

    assert cut == Cut(start=3, before=20)


def test_a_log_without_a_user_keeps_its_newest_message() -> None:
    log = [Sized(number=n, role="assistant", tokens=60) for n in (1, 2, 3)]

    cut = start_of(log)

    assert cut == Cut(start=3, before=120)


def test_more_is_asked_for_until_the_start_is_certain() -> None:
    log = a_log(*[10] * 40)
    newest_first = log[::-1]

    too_short = find_cut(newest_first[:8], total=400, budget=BUDGET)
    enough = find_cut(newest_first[:11], total=400, budget=BUDGET)

    assert too_short is None
    assert enough == start_of(log)


@given(log=logs(), budget=integers(1, 300))
def test_what_is_shown_fits_whenever_the_newest_exchange_does(log: list[Sized], budget: int) -> None:
    cut = start_of(log, budget=budget)

    newest_user = max((m.number for m in log if m.role == "user"), default=len(log))
    if sum(m.tokens for m in log if m.number >= newest_user) <= budget:
        assert shown_tokens(log, cut) <= budget
    assert cut.start <= max(newest_user, 1)
    assert cut.before == sum(m.tokens for m in log if m.number < cut.start)


@given(log=logs(), budget=integers(1, 300))
def test_a_question_is_never_parted_from_its_answer(log: list[Sized], budget: int) -> None:
    cut = start_of(log, budget=budget)

    if cut.start > 1 and any(m.role == "user" for m in log):
        assert log[cut.start - 1].role == "user"


@given(log=logs(), budget=integers(1, 300))
def test_no_more_is_dropped_than_the_floor_and_one_exchange_demand(log: list[Sized], budget: int) -> None:
    cut = start_of(log, budget=budget)

    floor = floor_of(sum(m.tokens for m in log), budget=budget)
    earlier = [m for m in log if m.role == "user" and m.number < cut.start]
    before = [sum(m.tokens for m in log if m.number < user.number) for user in earlier]
    assert all(tokens < floor for tokens in before)


@given(log=logs(), budget=integers(1, 300))
def test_the_start_never_goes_back(log: list[Sized], budget: int) -> None:
    starts = [start_of(log[:length], budget=budget).start for length in range(len(log) + 1)]

    assert starts == sorted(starts)


@given(log=logs(), budget=integers(1, 300), data=lists(integers(1, 7), min_size=1))
def test_pages_of_any_length_lead_to_the_same_start(log: list[Sized], budget: int, data: list[int]) -> None:
    newest_first, total = log[::-1], sum(m.tokens for m in log)

    cut, read, turn = None, 0, 0
    while cut is None:
        read += data[turn % len(data)]
        turn += 1
        cut = find_cut(newest_first[:read], total=total, budget=budget)

    assert cut == start_of(log, budget=budget)


@given(log=logs(), budget=integers(1, 300), pieces=lists(integers(1, 5), min_size=1))
def test_going_on_from_an_earlier_start_is_the_same_as_reading_again(
    log: list[Sized], budget: int, pieces: list[int]
) -> None:
    cut, length, turn = WHOLE, 0, 0
    while length < len(log):
        length += pieces[turn % len(pieces)]
        turn += 1
        grown = log[:length]
        shown = [m for m in grown if m.number >= cut.start]

        cut = move_cut(cut, shown, total=sum(m.tokens for m in grown), budget=budget)

        assert cut == start_of(grown, budget=budget)


@given(log=logs(min_size=1), budget=integers(8, 300))
def test_only_the_first_shown_message_is_looked_at_while_the_start_stays(
    log: list[Sized], budget: int
) -> None:
    cut, total = start_of(log, budget=budget), sum(m.tokens for m in log)
    shown = iter([m for m in log if m.number >= cut.start])

    again = move_cut(cut, shown, total=total, budget=budget)

    assert again == cut
    if floor_of(total, budget=budget) <= cut.before and any(m.role == "user" for m in log):
        assert len(list(shown)) >= len(log) - cut.start


@given(total=integers(0, 10_000), growth=integers(0, 100), budget=integers(1, 3_000))
def test_the_floor_rises_by_whole_blocks_and_just_far_enough(total: int, growth: int, budget: int) -> None:
    floor, later = floor_of(total, budget=budget), floor_of(total + growth, budget=budget)

    block = max(1, budget // 4)
    assert floor <= later
    assert floor % block == 0
    assert max(0, total - budget) <= floor < max(0, total - budget) + block
