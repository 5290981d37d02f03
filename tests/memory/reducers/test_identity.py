"""What tells reducers apart, in every process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import pytest
from typing_extensions import override

from tertulia.llms.scripted import ScriptedLLM
from tertulia.memory.reducers import (
    Reducer,
    ReducerChain,
    SummarizationReducer,
    TokenBudgetReducer,
    ToolResultReducer,
    TruncationReducer,
)
from tertulia.memory.reducers.identity import SupportsDescribing, identity
from tertulia.messages import Message


class Own(Reducer):
    def __init__(self, most: object) -> None:
        self.most = most

    @override
    async def reduce(self, messages: list[Message]) -> list[Message]:
        return messages


def reducers() -> list[Reducer]:
    llm, other = ScriptedLLM([], name="a"), ScriptedLLM([], name="b")
    return [
        TruncationReducer(4),
        TruncationReducer(max_tokens=4),
        TruncationReducer(4, threshold=1),
        TokenBudgetReducer(4),
        TokenBudgetReducer(4, 4),
        TokenBudgetReducer(4, model="openai:gpt-5"),
        ToolResultReducer(4),
        ToolResultReducer(4, threshold=1),
        SummarizationReducer(llm, 4),
        SummarizationReducer(other, 4),
        SummarizationReducer("openai:gpt-5", 4),
        SummarizationReducer(llm, 4, prompt="Briefly."),
        ReducerChain([TruncationReducer(4)]),
        ReducerChain([ToolResultReducer(4), TruncationReducer(4)]),
        ReducerChain([TruncationReducer(4), ToolResultReducer(4)]),
        Own(1),
        Own(2),
    ]


def test_reducers_that_do_the_same_are_the_same_and_others_are_not() -> None:
    told = [identity(reducer) for reducer in reducers()]

    assert told == [identity(reducer) for reducer in reducers()]
    assert len(set(told)) == len(told)


class Slotted(Own):
    __slots__ = ("least",)

    def __init__(self, least: object) -> None:
        super().__init__(1)
        self.least = least


class Named(str):
    """A text that is more than a text."""


@dataclass
class Amount:
    _hidden: int


UNTOLD: Final = [object(), {1, 2}, float, Named("x"), Amount(1), [lambda: 1]]


@pytest.mark.parametrize("most", UNTOLD, ids=["object", "set", "class", "text", "dataclass", "function"])
@pytest.mark.parametrize("kind", [Own, Slotted])
def test_a_reducer_that_cannot_be_told_as_json_is_like_no_other(
    kind: Callable[[object], Reducer], most: object
) -> None:
    one, other = kind(most), kind(most)

    assert len({identity(one), identity(other), identity(ReducerChain([one])), identity(kind(1))}) == 4


def test_what_slots_hold_is_told_as_well() -> None:
    assert identity(Slotted(1)) == identity(Slotted(1))
    assert identity(Slotted(1)) != identity(Slotted(2))


def test_classes_of_one_name_that_functions_have_made_are_not_taken_for_each_other() -> None:
    def made(most: int) -> Reducer:
        class Made(Reducer):
            @override
            async def reduce(self, messages: list[Message]) -> list[Message]:
                return messages[-most:]

        return Made()

    assert identity(made(1)) != identity(made(2))


def test_a_reducer_may_tell_itself_what_decides_what_it_does() -> None:
    class Telling(Own, SupportsDescribing):
        @override
        def describe(self) -> Mapping[str, object]:
            return {"reducer": "telling", "most": str(self.most)}

    assert identity(Telling(float)) == identity(Telling(float))
