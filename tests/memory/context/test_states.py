"""States of providers: what is taken comes back as it was, and what would not is refused."""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum, IntEnum, StrEnum
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.errors import InvalidInput
from tertulia.memory.states import MAX_STATE, States, encode_state
from tertulia.testing.context_contract import StatesInMemory

Colour = Enum("Colour", "RED")
Number = IntEnum("Number", "ONE")
Word = StrEnum("Word", "YES")


@dataclass
class Point:
    """No JSON."""

    x: int = 0


NO_JSON = [
    datetime(2026, 1, 1, tzinfo=UTC),
    date(2026, 1, 1),
    Point(),
    UUID(int=1),
    Colour.RED,
    Number.ONE,
    Word.YES,
    float("nan"),
    float("inf"),
    OrderedDict(a=1),
    {1: "a"},
    {"a", "b"},
    b"bytes",
    2**60,
    "\ud800",
    object(),
]


@pytest.mark.parametrize("value", NO_JSON, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("within", [lambda value: value, lambda value: [{"deep": (1, value)}]])
def test_what_would_not_come_back_as_it_is_is_refused(value: Any, within: Any) -> None:
    with pytest.raises(InvalidInput, match="'facts' cannot be kept"):
        encode_state({"fine": 1, "key": within(value)}, source="facts")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_json_comes_back_as_it_was(value: dict[str, Any]) -> None:
    assert orjson.loads(encode_state(value, source="facts")) == value


def test_what_refers_to_itself_is_refused() -> None:
    value: dict[str, Any] = {}
    value["self"] = value

    with pytest.raises(InvalidInput):
        encode_state(value, source="facts")


async def test_a_state_has_a_limit_and_the_one_before_stays() -> None:
    store = StatesInMemory()
    states = States(store)
    state = await states.open(0, "user:a:b", "facts")
    state.value["text"] = "x" * (MAX_STATE - 100)
    await states.keep(state)
    before = store.kept[0, "user:a:b", "facts"]

    state.value["more"] = "x" * 100
    with pytest.raises(InvalidInput, match=f"may have {MAX_STATE}"):
        await states.keep(state)

    assert store.kept[0, "user:a:b", "facts"] == before
