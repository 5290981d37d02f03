"""For authors of plugs: contract suites, a real fake of a model server, and ways to make things fail."""

from typing import TYPE_CHECKING

from tertulia.registry import lazily

if TYPE_CHECKING:
    from tertulia.engine.probe import POINTS
    from tertulia.llms.scripted import ScriptedLLM
    from tertulia.testing.calls import ToolCall
    from tertulia.testing.context_contract import ContextContract, LearningContract, Lesson
    from tertulia.testing.crashing import crash_at
    from tertulia.testing.fake_openai import FakeOpenAI
    from tertulia.testing.hints_contract import HintsContract
    from tertulia.testing.history import check
    from tertulia.testing.history_contract import HistoryContract
    from tertulia.testing.keeping_contract import KeepingContract
    from tertulia.testing.llm_contract import LLMContract
    from tertulia.testing.reading import read_history
    from tertulia.testing.store_contract import StoreContract
    from tertulia.testing.tool_contract import ToolContract, ToolSourceContract

__all__ = [
    "POINTS",
    "ContextContract",
    "FakeOpenAI",
    "HintsContract",
    "HistoryContract",
    "KeepingContract",
    "LLMContract",
    "LearningContract",
    "Lesson",
    "ScriptedLLM",
    "StoreContract",
    "ToolCall",
    "ToolContract",
    "ToolSourceContract",
    "check",
    "crash_at",
    "read_history",
]

__getattr__ = lazily(
    __name__,
    {
        "POINTS": "tertulia.engine.probe:POINTS",
        "ContextContract": "tertulia.testing.context_contract:ContextContract",
        "FakeOpenAI": "tertulia.testing.fake_openai:FakeOpenAI",
        "HintsContract": "tertulia.testing.hints_contract:HintsContract",
        "HistoryContract": "tertulia.testing.history_contract:HistoryContract",
        "KeepingContract": "tertulia.testing.keeping_contract:KeepingContract",
        "LLMContract": "tertulia.testing.llm_contract:LLMContract",
        "LearningContract": "tertulia.testing.context_contract:LearningContract",
        "Lesson": "tertulia.testing.context_contract:Lesson",
        "ScriptedLLM": "tertulia.llms.scripted:ScriptedLLM",
        "StoreContract": "tertulia.testing.store_contract:StoreContract",
        "ToolCall": "tertulia.testing.calls:ToolCall",
        "ToolContract": "tertulia.testing.tool_contract:ToolContract",
        "ToolSourceContract": "tertulia.testing.tool_contract:ToolSourceContract",
        "check": "tertulia.testing.history:check",
        "crash_at": "tertulia.testing.crashing:crash_at",
        "read_history": "tertulia.testing.reading:read_history",
    },
)
