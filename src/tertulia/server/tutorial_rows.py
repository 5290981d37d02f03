"""How the tutorial's surface shows what is stored."""

from collections.abc import Iterable

from tertulia.conversations import Conversation
from tertulia.definitions import StoredAgent
from tertulia.messages import to_datetime
from tertulia.server.agent_rows import definition_row
from tertulia.server.exchanges import Exchange


def agent_row(agent: StoredAgent, conversations: Iterable[Conversation]) -> dict[str, object]:
    """Return an agent as the tutorial shows it."""
    return {
        "id": agent.id,
        **definition_row(agent.definition),
        "timestamp": to_datetime(agent.created_at),
        "conversations": [conversation_row(conversation) for conversation in conversations],
    }


def conversation_row(conversation: Conversation) -> dict[str, object]:
    """Return a conversation, under the id that its creator gave it."""
    return {
        "id": conversation.shown_id,
        "agent_id": conversation.agent_id,
        "timestamp": to_datetime(conversation.created_at),
    }


def exchange_row(exchange: Exchange, conversation: str) -> dict[str, object]:
    """Return what was asked with its answer, of the conversation of this id."""
    return {
        "id": exchange.asked.id,
        "conversation_id": conversation,
        "user_message": exchange.asked.text,
        "agent_message": exchange.answer,
        "timestamp": to_datetime(exchange.asked.created_at),
    }
