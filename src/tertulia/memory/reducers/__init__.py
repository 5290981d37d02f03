"""Reducers: the port, and what makes long histories fit."""

from typing import TYPE_CHECKING

from tertulia.memory.reducers.base import CostlyReducer, Reducer
from tertulia.registry import lazily

if TYPE_CHECKING:
    from tertulia.memory.reducers.chain import ReducerChain
    from tertulia.memory.reducers.summarization import SummarizationReducer
    from tertulia.memory.reducers.token_budget import TokenBudgetReducer
    from tertulia.memory.reducers.tool_results import ToolResultReducer
    from tertulia.memory.reducers.truncation import TruncationReducer

__all__ = [
    "CostlyReducer",
    "Reducer",
    "ReducerChain",
    "SummarizationReducer",
    "TokenBudgetReducer",
    "ToolResultReducer",
    "TruncationReducer",
]

__getattr__ = lazily(
    __name__,
    {
        "ReducerChain": "tertulia.memory.reducers.chain:ReducerChain",
        "SummarizationReducer": "tertulia.memory.reducers.summarization:SummarizationReducer",
        "TokenBudgetReducer": "tertulia.memory.reducers.token_budget:TokenBudgetReducer",
        "ToolResultReducer": "tertulia.memory.reducers.tool_results:ToolResultReducer",
        "TruncationReducer": "tertulia.memory.reducers.truncation:TruncationReducer",
    },
)
