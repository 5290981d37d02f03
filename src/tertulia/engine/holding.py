"""Who holds a conversation: the run that works on it, or waits for a decision."""

from typing import Final

from tertulia.conversations import DEFAULT_TENANT, Conversation, Run, RunStatus
from tertulia.stores.base import Store

HOLDING: Final = frozenset({RunStatus.RUNNING, RunStatus.WAITING})
_PAGE: Final = 100


async def holder_of(store: Store, conversation: Conversation) -> Run | None:
    """Return the run that holds a conversation: the newest that spoke, or one accepted after it."""
    stored, runs = store.conversations, store.runs
    newest = await stored.recent(DEFAULT_TENANT, conversation.id, upto=conversation.head, limit=1)
    n = 0
    if newest and (run_id := newest[0].run_id) is not None:
        spoke = await runs.get(DEFAULT_TENANT, run_id)
        n = spoke.n - 1 if spoke.conversation_id == conversation.id else 0
    later = await runs.page(DEFAULT_TENANT, conversation.id, after=n, limit=_PAGE)
    return next((run for run in later if run.status in HOLDING), None)
