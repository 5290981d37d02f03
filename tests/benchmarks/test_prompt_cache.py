"""The beginning of a prompt stays the same between turns, so that providers' caches have it."""

import pytest

from benchmarks import prompt_cache

SLIDING = ("sliding window", "TruncationReducer, no threshold")
PLAIN, RECALLED = "Tertulia without a reducer", "the same with recalled messages"
OURS = [name for name in prompt_cache.WAYS if name not in {*SLIDING, RECALLED}]


@pytest.mark.parametrize("name", OURS)
async def test_nine_tenths_of_what_is_sent_repeat_the_prompt_before(name: str) -> None:
    sent = await prompt_cache.measure(name)

    assert sent.prompts == prompt_cache.TURNS
    assert sent.share >= 0.9
    assert sent.tokens <= prompt_cache.TURNS * prompt_cache.BUDGET


async def test_what_is_recalled_for_each_answer_does_not_move_the_beginning() -> None:
    plain, recalled = [await prompt_cache.measure(name) for name in (PLAIN, RECALLED)]

    assert recalled.share >= 0.85
    assert recalled.paid < 1.1 * plain.paid


@pytest.mark.parametrize("name", SLIDING)
async def test_a_sliding_window_repeats_little_and_costs_several_times_as_much(name: str) -> None:
    sliding, ours = [await prompt_cache.measure(each) for each in (name, PLAIN)]

    assert sliding.share < 0.5
    assert sliding.paid > 3 * ours.paid


def test_the_table_has_a_line_for_each_way(capsys: pytest.CaptureFixture[str]) -> None:
    prompt_cache.main(["--turns", "5"])

    lines = capsys.readouterr().out.splitlines()
    assert [line[:33].strip() for line in lines[3:]] == list(prompt_cache.WAYS)
