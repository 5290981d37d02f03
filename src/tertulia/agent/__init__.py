"""Agents: those that are stored, those that a program has, and the sessions with them."""

from tertulia.agent.agent import Agent
from tertulia.agent.replies import AgentRunFinished, Reply
from tertulia.agent.session import Session
from tertulia.agent.stored import PERFORMER, AgentPerformer

__all__ = ["PERFORMER", "Agent", "AgentPerformer", "AgentRunFinished", "Reply", "Session"]
