"""Context providers: what an agent is told from beyond its conversation, and the plugs that know it."""

from typing import TYPE_CHECKING

from tertulia.memory.context.base import ContextProvider, RunContext
from tertulia.memory.context.building import BuildableContext, Means
from tertulia.registry import Registry, lazily

if TYPE_CHECKING:
    from tertulia.memory.context.database import DatabaseProvider
    from tertulia.memory.context.database_file import read_databases_file
    from tertulia.memory.context.knowledge import KnowledgeProvider
    from tertulia.memory.context.mem0 import Mem0ContextProvider
    from tertulia.memory.context.user_facts import UserFacts

CONTEXTS: Registry[BuildableContext] = Registry(
    "context providers",
    {
        "database": "tertulia.memory.context.database:DatabaseProvider",
        "knowledge": "tertulia.memory.context.knowledge:KnowledgeProvider",
        "user_facts": "tertulia.memory.context.user_facts:UserFacts",
    },
    group="tertulia.contexts",
)
"""What an agent's author can choose, by its name."""

__all__ = [
    "CONTEXTS",
    "BuildableContext",
    "ContextProvider",
    "DatabaseProvider",
    "KnowledgeProvider",
    "Means",
    "Mem0ContextProvider",
    "RunContext",
    "UserFacts",
    "read_databases_file",
]

__getattr__ = lazily(
    __name__,
    {
        "DatabaseProvider": "tertulia.memory.context.database:DatabaseProvider",
        "KnowledgeProvider": "tertulia.memory.context.knowledge:KnowledgeProvider",
        "Mem0ContextProvider": "tertulia.memory.context.mem0:Mem0ContextProvider",
        "UserFacts": "tertulia.memory.context.user_facts:UserFacts",
        "read_databases_file": "tertulia.memory.context.database_file:read_databases_file",
    },
)
