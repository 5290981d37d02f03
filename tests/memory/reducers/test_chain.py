"""Several reducers, one after another."""

import pytest
from typing_extensions import override

from tertulia.llms.scripted import ScriptedLLM
from tertulia.memory.reducers import (
    CostlyReducer,
    Reducer,
    ReducerChain,
    SummarizationReducer,
    ToolResultReducer,
    TruncationReducer,
)
from tertulia.messages import Message
from tests.memory.reducers.talk import Talk, texts


class NewestTwo(Reducer):
    """A reducer of somebody else's."""

    @override
    async def reduce(self, messages: list[Message]) -> list[Message]:
        return messages[-2:]


class Costly(NewestTwo, CostlyReducer):
    """Another, which says that it asks a model from the third message on."""

    @override
    def is_due(self, messages: list[Message]) -> bool:
        return len(messages) > 2


async def test_reducers_are_applied_in_their_order() -> None:
    llm, messages = ScriptedLLM(["they spoke"]), Talk().turns(4)
    chain = ReducerChain([TruncationReducer(6), SummarizationReducer(llm, 2)])

    shown = await chain.reduce(messages)

    assert texts(shown)[1:] == ["q3", "a3"]


async def test_a_reducer_of_somebody_elses_can_stand_among_ours() -> None:
    messages = Talk().turns(4)

    for inner in (NewestTwo(), ReducerChain([NewestTwo()]), Costly()):
        shown = await ReducerChain([TruncationReducer(6), inner]).reduce(messages)

        assert texts(shown) == ["q3", "a3"]


def test_a_chain_is_due_if_one_of_its_reducers_is() -> None:
    messages, llm = Talk().turns(2), ScriptedLLM([])

    assert ReducerChain([ToolResultReducer(1), SummarizationReducer(llm, 2)]).is_due(messages)
    assert not ReducerChain([ToolResultReducer(1), SummarizationReducer(llm, 4)]).is_due(messages)
    assert not ReducerChain([ToolResultReducer(1)]).is_due(messages)
    assert ReducerChain([ToolResultReducer(1), Costly()]).is_due(messages)
    assert not ReducerChain([ToolResultReducer(1), Costly()]).is_due(messages[:2])
    assert not ReducerChain([ToolResultReducer(1), NewestTwo()]).is_due(messages)


@pytest.mark.parametrize(
    ("reducers", "asks"),
    [
        ([TruncationReducer(1)], False),
        ([TruncationReducer(1), NewestTwo()], False),
        ([TruncationReducer(1), Costly()], True),
        ([TruncationReducer(1), SummarizationReducer("scripted:echo", 1)], True),
        ([ReducerChain([Costly()]), TruncationReducer(1)], True),
    ],
)
def test_a_chain_tells_whether_it_may_ask_a_model(reducers: list[Reducer], asks: bool) -> None:
    assert ReducerChain(reducers).asks == asks
