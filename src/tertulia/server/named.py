"""What a request names in its path and its query, and how far a list goes."""

from typing import Annotated, Final, TypeAlias

from fastapi import Path, Query

from tertulia.conversations import DEFAULT_TENANT
from tertulia.ids import AGENT, is_id
from tertulia.messages import check_text
from tertulia.runtime import MAX_NAME
from tertulia.server.lists import MAX_LIMIT
from tertulia.server.run_forms import MAX_NUMBER
from tertulia.stores import Store

PAGE: Final = 100

After: TypeAlias = Annotated[
    str | None,
    Query(max_length=MAX_NAME, description="Where the page begins: the `cursor` of the one before."),
]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Rows at most.")]
Name: TypeAlias = Annotated[str, Path(max_length=MAX_NAME, description="The id; your own will do as well.")]
AgentName: TypeAlias = Annotated[str, Path(max_length=MAX_NAME, description="The id, or the name.")]
Ident: TypeAlias = Annotated[str, Path(max_length=MAX_NAME)]
Number: TypeAlias = Annotated[int, Path(ge=1, le=MAX_NUMBER)]


async def agent_id(store: Store, named: str) -> str:
    """Return the id of an agent that is named by id or name; raises ``NotFound`` for an unknown name."""
    if is_id(named, prefix=AGENT):
        return named
    return (await store.agents.get(DEFAULT_TENANT, check_text(named, what="agent_id"))).id


async def closed_one(store: Store, named: str | None) -> str | None:
    """Return the id of a conversation that has just refused a message, if the message named it."""
    return None if named is None else await conversation_id(store, named)


async def conversation_id(store: Store, named: str) -> str:
    """Return the id of a conversation that is named by id or alias; raises ``NotFound``."""
    return (await store.conversations.get(DEFAULT_TENANT, check_text(named, what="conversation_id"))).id
