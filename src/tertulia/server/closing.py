"""How it is told that a conversation has come to its end with a run."""

from typing import cast

from tertulia.agent_settings import ModelSettings
from tertulia.conversations import DEFAULT_TENANT, Run
from tertulia.events import RunFinished
from tertulia.stores import Store


async def closed_row(store: Store, run: Run, reason: str | None) -> dict[str, object] | None:
    """Return why a conversation has come to its end with a run, and what its user is to be shown.

    ``None`` if it goes on. Of the run, only what it was accepted with is looked at.
    """
    if reason is None:
        return None
    conversation = await store.conversations.get(DEFAULT_TENANT, run.conversation_id)
    agent = await store.agents.get(DEFAULT_TENANT, conversation.agent_id, version=run.agent_version)
    chosen = ModelSettings.of_kept(cast("dict[str, object]", run.options.get("settings", {})))
    farewell = agent.definition.settings.under(chosen).farewell
    plain = f"This conversation has come to its end: {reason.rstrip('.')}."
    return {"reason": reason, "notice": farewell or plain}


async def closed_by_end(store: Store, end: RunFinished) -> dict[str, object] | None:
    """Return the same of a run of which the last event is known."""
    if end.closed is None:
        return None
    return await closed_row(store, await store.runs.get(DEFAULT_TENANT, end.run_id), end.closed)


async def closed_since(store: Store, run: Run) -> dict[str, object] | None:
    """Return the same of a run as it stands: its conversation is closed, and nothing was said since."""
    if not run.last_number:
        return None
    conversation = await store.conversations.get(DEFAULT_TENANT, run.conversation_id)
    is_last = conversation.head == run.last_number
    return await closed_row(store, run, conversation.closed if is_last else None)
