"""Memory: what a model is shown of the past; history providers, reducers and context providers.

Each name is imported when it is first asked for, so that only who uses a plug needs its packages.
"""

from typing import TYPE_CHECKING

from tertulia.registry import lazily

if TYPE_CHECKING:
    from tertulia.memory.context import CONTEXTS
    from tertulia.memory.context.base import ContextProvider, RunContext
    from tertulia.memory.context.database import DatabaseProvider
    from tertulia.memory.context.knowledge import KnowledgeProvider
    from tertulia.memory.context.mem0 import Mem0ContextProvider
    from tertulia.memory.context.user_facts import UserFacts
    from tertulia.memory.counting import Counter, counter, message_tokens
    from tertulia.memory.history import HISTORIES
    from tertulia.memory.history.base import (
        HistoryProvider,
        SupportsForgetting,
        SupportsLog,
        SupportsRecent,
    )
    from tertulia.memory.history.file import FileHistoryProvider
    from tertulia.memory.history.in_memory import InMemoryHistoryProvider
    from tertulia.memory.history.recording import Flags, Recording, SupportsFlags
    from tertulia.memory.history.redis import RedisHistoryProvider
    from tertulia.memory.history.service import ServiceHistoryProvider
    from tertulia.memory.history.sql import SQLHistoryProvider
    from tertulia.memory.reducers.base import CostlyReducer, Reducer
    from tertulia.memory.reducers.chain import ReducerChain
    from tertulia.memory.reducers.spending import spend
    from tertulia.memory.reducers.summarization import SummarizationReducer
    from tertulia.memory.reducers.token_budget import TokenBudgetReducer
    from tertulia.memory.reducers.tool_results import ToolResultReducer
    from tertulia.memory.reducers.truncation import TruncationReducer
    from tertulia.memory.sessions import Outcome, ProviderRun, ProviderSession

__all__ = [
    "CONTEXTS",
    "HISTORIES",
    "ContextProvider",
    "CostlyReducer",
    "Counter",
    "DatabaseProvider",
    "FileHistoryProvider",
    "Flags",
    "HistoryProvider",
    "InMemoryHistoryProvider",
    "KnowledgeProvider",
    "Mem0ContextProvider",
    "Outcome",
    "ProviderRun",
    "ProviderSession",
    "Recording",
    "RedisHistoryProvider",
    "Reducer",
    "ReducerChain",
    "RunContext",
    "SQLHistoryProvider",
    "ServiceHistoryProvider",
    "SummarizationReducer",
    "SupportsFlags",
    "SupportsForgetting",
    "SupportsLog",
    "SupportsRecent",
    "TokenBudgetReducer",
    "ToolResultReducer",
    "TruncationReducer",
    "UserFacts",
    "counter",
    "message_tokens",
    "spend",
]

__getattr__ = lazily(
    __name__,
    {
        "CONTEXTS": "tertulia.memory.context:CONTEXTS",
        "ContextProvider": "tertulia.memory.context.base:ContextProvider",
        "CostlyReducer": "tertulia.memory.reducers.base:CostlyReducer",
        "Counter": "tertulia.memory.counting:Counter",
        "DatabaseProvider": "tertulia.memory.context.database:DatabaseProvider",
        "FileHistoryProvider": "tertulia.memory.history.file:FileHistoryProvider",
        "Flags": "tertulia.memory.history.recording:Flags",
        "HISTORIES": "tertulia.memory.history:HISTORIES",
        "HistoryProvider": "tertulia.memory.history.base:HistoryProvider",
        "InMemoryHistoryProvider": "tertulia.memory.history.in_memory:InMemoryHistoryProvider",
        "KnowledgeProvider": "tertulia.memory.context.knowledge:KnowledgeProvider",
        "Mem0ContextProvider": "tertulia.memory.context.mem0:Mem0ContextProvider",
        "Outcome": "tertulia.memory.sessions:Outcome",
        "ProviderRun": "tertulia.memory.sessions:ProviderRun",
        "ProviderSession": "tertulia.memory.sessions:ProviderSession",
        "Recording": "tertulia.memory.history.recording:Recording",
        "RedisHistoryProvider": "tertulia.memory.history.redis:RedisHistoryProvider",
        "Reducer": "tertulia.memory.reducers.base:Reducer",
        "ReducerChain": "tertulia.memory.reducers.chain:ReducerChain",
        "RunContext": "tertulia.memory.context.base:RunContext",
        "SQLHistoryProvider": "tertulia.memory.history.sql:SQLHistoryProvider",
        "ServiceHistoryProvider": "tertulia.memory.history.service:ServiceHistoryProvider",
        "SummarizationReducer": "tertulia.memory.reducers.summarization:SummarizationReducer",
        "SupportsFlags": "tertulia.memory.history.recording:SupportsFlags",
        "SupportsForgetting": "tertulia.memory.history.base:SupportsForgetting",
        "SupportsLog": "tertulia.memory.history.base:SupportsLog",
        "SupportsRecent": "tertulia.memory.history.base:SupportsRecent",
        "TokenBudgetReducer": "tertulia.memory.reducers.token_budget:TokenBudgetReducer",
        "ToolResultReducer": "tertulia.memory.reducers.tool_results:ToolResultReducer",
        "TruncationReducer": "tertulia.memory.reducers.truncation:TruncationReducer",
        "UserFacts": "tertulia.memory.context.user_facts:UserFacts",
        "counter": "tertulia.memory.counting:counter",
        "message_tokens": "tertulia.memory.counting:message_tokens",
        "spend": "tertulia.memory.reducers.spending:spend",
    },
)
