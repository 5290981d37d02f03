"""What tells reducers apart, in every process."""

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
from tertulia.memory.reducers.identity import description, identity
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


@pytest.mark.parametrize("most", [object(), {1, 2}, float])
def test_of_a_reducer_that_cannot_be_told_as_json_the_name_is_told(most: object) -> None:
    assert description(Own(most)) == {"reducer": f"{__name__}.Own"}
