"""The names of Microsoft's Agent Framework for Python as of its betas, on our own engine.

Change ``agent_framework`` to ``tertulia.compat.agent_framework`` in import lines, and programs written
for threads and message stores run. ``docs/agent-framework.md`` says what is what among ours.
"""

from tertulia.compat.agent_framework.agents import ChatAgent
from tertulia.compat.agent_framework.clients import ChatClient
from tertulia.compat.agent_framework.context import Context, ContextProvider
from tertulia.compat.agent_framework.messages import ChatMessage, Role
from tertulia.compat.agent_framework.responses import AgentRunResponse, AgentRunResponseUpdate
from tertulia.compat.agent_framework.stores import ChatMessageStore, ChatMessageStoreProtocol
from tertulia.compat.agent_framework.threads import AgentThread

__all__ = [
    "AgentRunResponse",
    "AgentRunResponseUpdate",
    "AgentThread",
    "ChatAgent",
    "ChatClient",
    "ChatMessage",
    "ChatMessageStore",
    "ChatMessageStoreProtocol",
    "Context",
    "ContextProvider",
    "Role",
]
