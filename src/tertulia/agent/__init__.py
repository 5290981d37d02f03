"""Agents: those that are stored, those that a program has, and the sessions with them."""

from typing import TYPE_CHECKING

from tertulia.registry import lazily

if TYPE_CHECKING:
    from tertulia.agent.agent import Agent
    from tertulia.agent.replies import AgentRunFinished, Reply
    from tertulia.agent.session import Session
    from tertulia.agent.stored import PERFORMER, AgentPerformer

__all__ = ["PERFORMER", "Agent", "AgentPerformer", "AgentRunFinished", "Reply", "Session"]

__getattr__ = lazily(
    __name__,
    {
        "PERFORMER": "tertulia.agent.stored:PERFORMER",
        "Agent": "tertulia.agent.agent:Agent",
        "AgentPerformer": "tertulia.agent.stored:AgentPerformer",
        "AgentRunFinished": "tertulia.agent.replies:AgentRunFinished",
        "Reply": "tertulia.agent.replies:Reply",
        "Session": "tertulia.agent.session:Session",
    },
)
