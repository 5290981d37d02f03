"""Rows that earlier versions have written are read, and those of today are short."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.conversations import Wait
from tertulia.stores.sql.rows import decode_usage, decode_wait, encode_usage, encode_wait, spell_usage
from tertulia.testing.builders import a_wait
from tertulia.usage import Usage

amounts = st.integers(0, 2**40)
costs = st.floats(0, 10_000, allow_nan=False)
usages = st.builds(
    Usage,
    input_tokens=amounts,
    output_tokens=amounts,
    cached_tokens=amounts,
    reasoning_tokens=amounts,
    model_calls=amounts,
    wasted_calls=amounts,
    tool_calls=amounts,
    cost=st.just(0.0) | costs,
    unpriced_calls=amounts,
)


@given(usage=usages)
def test_usage_is_read_as_it_was_written(usage: Usage) -> None:
    assert decode_usage(encode_usage(usage)) == usage
    assert decode_usage(spell_usage(usage)) == usage


@pytest.mark.parametrize(
    ("usage", "kept"),
    [
        (Usage(), None),
        (Usage(input_tokens=7, output_tokens=3, model_calls=1), "[7,3,0,1]"),
        (Usage(tool_calls=2), "[0,0,0,0,0,2]"),
        (Usage(cost=0.25), "[0,0,0,0,0,0,0,0.25]"),
    ],
)
def test_zeros_at_the_end_of_usage_take_no_room(usage: Usage, kept: str | None) -> None:
    assert encode_usage(usage) == kept


def test_nothing_can_take_the_place_of_something() -> None:
    assert spell_usage(Usage()) == "[]"
    assert decode_usage("[]") == decode_usage(None) == Usage()


@pytest.mark.parametrize("kept", ["[5,4,3,2,1]", "[5,4,3,2,1,0,0,0,0,99]"])
def test_usage_of_other_versions_is_read(kept: str) -> None:
    assert decode_usage(kept) == Usage(
        input_tokens=5, output_tokens=4, cached_tokens=3, model_calls=2, wasted_calls=1
    )


@pytest.mark.parametrize("subject", ["", '{"tool":"mail","arguments":{"to":"Zoë"}}'])
def test_wait_is_read_as_it_was_written(subject: str) -> None:
    wait = a_wait(subject=subject)

    assert decode_wait(encode_wait(wait)) == wait


def test_wait_of_an_earlier_version_is_about_nothing_in_particular() -> None:
    kept = {"kind": "turn", "path": "turn/1", "message": "Your turn.", "until": 9}

    assert decode_wait(orjson.dumps(kept).decode()) == Wait(
        kind="turn", path="turn/1", message="Your turn.", until=9
    )
