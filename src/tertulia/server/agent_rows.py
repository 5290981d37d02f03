"""How agents are shown under ``/v1``, and what every surface shows of them."""

from tertulia.definitions import AgentDefinition, StoredAgent, encode_context, encode_tool
from tertulia.messages import to_datetime


def stored_agent_row(agent: StoredAgent) -> dict[str, object]:
    """Return an agent at its version."""
    return {
        "object": "agent",
        "id": agent.id,
        **definition_row(agent.definition),
        "version": agent.version,
        "created_at": to_datetime(agent.created_at),
    }


def definition_row(definition: AgentDefinition) -> dict[str, object]:
    """Return what an agent's author chose; its response shape is always a text."""
    return {
        "name": definition.name,
        "context": definition.context,
        "first_message": definition.first_message,
        "response_shape": definition.response_shape,
        "instructions": definition.instructions,
        "model": definition.model,
        "settings": definition.settings.given(),
        "tools": [encode_tool(choice) for choice in definition.tools],
        "context_providers": [encode_context(choice) for choice in definition.context_providers],
        "limits": definition.limits.given(),
        "program": definition.program or None,
    }
