"""History providers: other places than our log where conversations are kept."""

from typing import TYPE_CHECKING

from tertulia.memory.history.base import HistoryProvider, SupportsForgetting, SupportsLog, SupportsRecent
from tertulia.registry import Registry, lazily

if TYPE_CHECKING:
    from tertulia.memory.history.file import FileHistoryProvider
    from tertulia.memory.history.in_memory import InMemoryHistoryProvider
    from tertulia.memory.history.recording import Flags, Recording, SupportsFlags, flags_of
    from tertulia.memory.history.redis import RedisHistoryProvider
    from tertulia.memory.history.sql import SQLHistoryProvider

HISTORIES: Registry[HistoryProvider] = Registry(
    "history providers",
    {
        "file": "tertulia.memory.history.file:FileHistoryProvider",
        "memory": "tertulia.memory.history.in_memory:InMemoryHistoryProvider",
        "redis": "tertulia.memory.history.redis:RedisHistoryProvider",
        "sql": "tertulia.memory.history.sql:SQLHistoryProvider",
    },
    group="tertulia.histories",
)
"""History providers by name; other distributions add theirs by entry points of this group."""

__all__ = [
    "HISTORIES",
    "FileHistoryProvider",
    "Flags",
    "HistoryProvider",
    "InMemoryHistoryProvider",
    "Recording",
    "RedisHistoryProvider",
    "SQLHistoryProvider",
    "SupportsFlags",
    "SupportsForgetting",
    "SupportsLog",
    "SupportsRecent",
    "flags_of",
]

__getattr__ = lazily(
    __name__,
    {
        "FileHistoryProvider": "tertulia.memory.history.file:FileHistoryProvider",
        "Flags": "tertulia.memory.history.recording:Flags",
        "InMemoryHistoryProvider": "tertulia.memory.history.in_memory:InMemoryHistoryProvider",
        "Recording": "tertulia.memory.history.recording:Recording",
        "RedisHistoryProvider": "tertulia.memory.history.redis:RedisHistoryProvider",
        "SQLHistoryProvider": "tertulia.memory.history.sql:SQLHistoryProvider",
        "SupportsFlags": "tertulia.memory.history.recording:SupportsFlags",
        "flags_of": "tertulia.memory.history.recording:flags_of",
    },
)
