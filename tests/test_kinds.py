"""Settings take what their kind says, and its JSON Schema says the same."""

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.errors import InvalidInput
from tertulia.kinds import Choice, Kind, Line, Lines, Number, Switch, checked_settings, settings_schema

KINDS: dict[str, Kind] = {
    "warmth": Number(low=0, high=2, description="How warm."),
    "count": Number(low=1, high=9, is_whole=True),
    "seed": Number(low=-(2**63), high=2**63 - 1, is_whole=True),
    "loud": Switch(description="Whether it is loud."),
    "pace": Choice(words=("slow", "fast")),
    "name": Line(longest=5),
    "ends": Lines(most=2, longest=3),
}
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 12),
    st.floats(-1, 3),
    st.sampled_from(["", "slow", "fast", "a name", "x" * 5, "abc", "abcd"]),
    st.lists(st.sampled_from(["", "abc", "abcd"]) | st.integers(0, 1), max_size=3),
    st.dictionaries(st.sampled_from(["a"]), st.integers(0, 1)),
)


@given(name=st.sampled_from([*KINDS]), value=values)
def test_schema_says_what_is_taken(name: str, value: object) -> None:
    validator = jsonschema_rs.validator_for(settings_schema(KINDS))
    # JSON knows no difference between 1 and 1.0, and null leaves a setting out.
    if isinstance(value, float) and value.is_integer():
        return

    try:
        checked_settings(KINDS, {name: value}, what="settings")
        is_taken = value is not None
    except InvalidInput:
        is_taken = False

    assert validator.is_valid({name: value}) is is_taken


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("warmth", "warm", "'warmth' must be a number"),
        ("warmth", True, "'warmth' must be a number"),
        ("warmth", float("nan"), "'warmth' must lie between 0 and 2"),
        ("warmth", 2.5, "'warmth' must lie between 0 and 2"),
        ("count", 1.5, "'count' must be a whole number"),
        ("count", 10, "'count' must lie between 1 and 9"),
        ("seed", 2**63, "'seed' must lie between"),
        ("loud", 1, "'loud' must be true or false"),
        ("pace", "brisk", "'pace' must be one of: slow, fast"),
        ("pace", ["slow"], "'pace' must be one of: slow, fast"),
        ("name", "", "'name' must be a text of 1 to 5 characters"),
        ("name", "a\x00", "'name' holds a NUL character"),
        ("name", "\ud83d", "'name' holds a NUL character or half of a surrogate pair"),
        ("ends", 7, "'ends' must be a text or a list of texts"),
        ("ends", [7], "'ends' must be a text or a list of texts"),
        ("ends", [], "'ends' takes 1 to 2 texts"),
        ("ends", ["a", "b", "c"], "'ends' takes 1 to 2 texts"),
        ("ends", ["abcd"], "'ends' takes texts of 1 to 3 characters"),
        ("ends", ["\x00"], "'ends' holds a NUL character"),
    ],
)
def test_what_is_not_taken_is_told_why(name: str, value: object, told: str) -> None:
    with pytest.raises(InvalidInput, match=f"^setting {told}"):
        checked_settings(KINDS, {name: value}, what="settings")


def test_settings_are_returned_as_they_are_kept() -> None:
    given_ones = {"warmth": 1, "loud": False, "pace": "slow", "ends": "abc", "name": None}

    checked = checked_settings(KINDS, given_ones, what="settings")

    assert checked == {"warmth": 1, "loud": False, "pace": "slow", "ends": ("abc",)}
    assert checked_settings(KINDS, None, what="settings") == {}


@pytest.mark.parametrize("raw", [[], "warm", 7])
def test_settings_are_an_object(raw: object) -> None:
    with pytest.raises(InvalidInput, match=r"^settings must be an object$"):
        checked_settings(KINDS, raw, what="settings")


def test_unknown_setting_is_told_with_those_that_there_are() -> None:
    with pytest.raises(InvalidInput, match="in limits; there are: count, ends, loud") as refused:
        checked_settings(KINDS, {"x" * 900: 1}, what="limits")

    assert "x" * 51 not in str(refused.value)


def test_descriptions_stand_in_the_schema() -> None:
    described = settings_schema(KINDS)["properties"]

    assert (described["warmth"]["description"], described["loud"]["description"]) == (
        "How warm.",
        "Whether it is loud.",
    )
    assert "description" not in described["count"]
