"""The beginning of a prompt stays the same between turns, so that providers' caches have it."""

import pytest

from benchmarks import prompt_cache

OURS = [name for name in prompt_cache.WAYS if name != "sliding window"]


@pytest.mark.parametrize("name", OURS)
async def test_nine_tenths_of_what_is_sent_repeat_the_prompt_before(name: str) -> None:
    sent = await prompt_cache.measure(name)

    assert sent.prompts == prompt_cache.TURNS
    assert sent.share >= 0.9
    assert sent.tokens <= prompt_cache.TURNS * prompt_cache.BUDGET


async def test_a_sliding_window_repeats_little_and_costs_several_times_as_much() -> None:
    sliding, ours = [await prompt_cache.measure(name) for name in ("sliding window", OURS[0])]

    assert sliding.share < 0.5
    assert sliding.paid > 3 * ours.paid


def test_the_table_has_a_line_for_each_way(capsys: pytest.CaptureFixture[str]) -> None:
    prompt_cache.main(["--turns", "5"])

    lines = capsys.readouterr().out.splitlines()
    assert [line[:28].strip() for line in lines[3:]] == list(prompt_cache.WAYS)
