"""Settings are laid over one another, limits tighten one another, and both are kept and read again."""

from dataclasses import fields

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.agent_settings import ModelSettings, RunLimits
from tertulia.errors import InvalidInput

optional_texts = st.none() | st.sampled_from(["low", "high"])
settings = st.builds(
    ModelSettings,
    temperature=st.none() | st.floats(0, 2),
    max_tokens=st.none() | st.integers(1, 9),
    stop=st.none() | st.lists(st.sampled_from(["END", "\n"]), min_size=1, max_size=2).map(tuple),
    reasoning_effort=optional_texts,
    store=st.none() | st.booleans(),
    max_turns=st.none() | st.integers(1, 9),
    check_end=st.none() | st.booleans(),
    farewell=st.none() | st.sampled_from(["Goodbye!"]),
)
limits = st.builds(
    RunLimits,
    max_steps=st.none() | st.integers(1, 9),
    max_tokens=st.none() | st.integers(1, 9),
    max_seconds=st.none() | st.floats(0.001, 9),
    max_cost=st.none() | st.floats(0, 9),
)


@given(given_ones=settings)
def test_settings_are_read_as_they_were_kept(given_ones: ModelSettings) -> None:
    kept = orjson.loads(orjson.dumps(given_ones.given()))

    assert ModelSettings.of_kept(kept) == given_ones
    assert ModelSettings.parse(kept) == given_ones


@given(given_ones=limits)
def test_limits_are_read_as_they_were_kept(given_ones: RunLimits) -> None:
    kept = orjson.loads(orjson.dumps(given_ones.given()))

    assert RunLimits.of_kept(kept) == RunLimits.parse(kept) == given_ones


def test_what_a_later_version_has_kept_is_passed_over() -> None:
    assert ModelSettings.of_kept({"temperature": 1, "warmth": 2}) == ModelSettings(temperature=1)
    assert RunLimits.of_kept({"max_steps": 1, "max_patience": 2}) == RunLimits(max_steps=1)


@given(below=settings, above=settings)
def test_what_is_laid_over_counts_and_the_rest_shows_through(
    below: ModelSettings, above: ModelSettings
) -> None:
    laid = below.under(above)

    for name in (f.name for f in fields(ModelSettings)):
        chosen = getattr(above, name)
        assert getattr(laid, name) == (getattr(below, name) if chosen is None else chosen)


@given(one=limits, other=limits)
def test_of_two_limits_the_tighter_counts(one: RunLimits, other: RunLimits) -> None:
    both = one.within(other)

    assert both == other.within(one)
    for name in (f.name for f in fields(RunLimits)):
        set_ones = [value for each in (one, other) if (value := getattr(each, name)) is not None]
        assert getattr(both, name) == min(set_ones, default=None)


def test_providers_are_told_only_what_concerns_them() -> None:
    everything = ModelSettings(
        temperature=0.5,
        reasoning_effort="low",
        timeout=9,
        store=True,
        background=True,
        max_turns=3,
        check_end=True,
        farewell="Goodbye!",
    )

    assert everything.sampling() == {"temperature": 0.5, "reasoning_effort": "low"}


@pytest.mark.parametrize("name", [f.name for f in fields(ModelSettings)])
def test_every_setting_can_be_given_and_is_described(name: str) -> None:
    assert name in ModelSettings.json_schema()["properties"]
    with pytest.raises(InvalidInput, match=name):
        ModelSettings.parse({name: {}})


@pytest.mark.parametrize("name", [f.name for f in fields(RunLimits)])
def test_every_limit_can_be_given_and_is_described(name: str) -> None:
    assert name in RunLimits.json_schema()["properties"]
    with pytest.raises(InvalidInput, match=name):
        RunLimits.parse({name: -1})
