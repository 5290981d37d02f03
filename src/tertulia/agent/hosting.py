"""Where an agent's runs are carried out in a program: an engine on its store, for each event loop."""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from weakref import WeakValueDictionary, finalize

from tertulia import ids
from tertulia.agent.parts import AgentParts
from tertulia.agent.performing import ProgramPerformer
from tertulia.conversations import DEFAULT_TENANT
from tertulia.definitions import AgentDefinition, StoredAgent
from tertulia.errors import ConversationBusy, DuplicateName, InvalidInput, NotFound, StoreBusy
from tertulia.hints import open_hints
from tertulia.per_loop import OpenedPerLoop
from tertulia.runtime import Runtime
from tertulia.stores import Store, open_store
from tertulia.stores.base import SupportsTaking

MEMORY: Final = "memory://"


class Host:
    """An agent's engines, opened when they are first asked for, and closed with their event loop.

    Conversations in the memory of this process live as long as somebody holds them, unless they are in
    a store that was lent.
    """

    def __init__(self, parts: AgentParts, store: str | Store | None) -> None:
        self._parts = parts
        given = MEMORY if store is None else store
        lent = open_store(given) if given == MEMORY else given
        self._forgets = given == MEMORY
        self.memory = lent if isinstance(lent, SupportsTaking) else None
        self.is_kept = self.memory is None
        self._engines: OpenedPerLoop[_Engine] = OpenedPerLoop(
            partial(_begun, parts, lent), partial(_stopped, is_lent=not isinstance(lent, str))
        )
        self._held: WeakValueDictionary[str, Hold] = WeakValueDictionary()
        self._left: set[str] = set()
        self._claims: Counter[str] = Counter()

    async def runtime(self) -> Runtime:
        """Return what runs are submitted to in this event loop; raises what opening the store raises."""
        return (await self._engines.get()).runtime

    async def agent(self) -> StoredAgent:
        """Return the agent as it is stored, made or brought up to date if need be."""
        engine = await self._engines.get()
        async with engine.lock:
            if engine.agent is None:
                engine.agent = await registered(engine.runtime.store, self._parts.stored)
        return engine.agent

    def hold(self, key: str, conversation_id: str) -> "Hold":
        """Have a conversation in the memory of this process kept until nobody holds it any more.

        ``key`` is the id that its creator chose, if any; ``conversation_id`` counts if it is new.
        """
        hold = self._held.get(key)
        if hold is None:
            claims = self._claims if self._forgets else Counter[str]()
            hold = self._held[key] = Hold(conversation_id, self._left, claims)
            if self.memory is not None and self._forgets:
                _sweep(self.memory, self._left)
                finalize(hold, _drop, self.memory, hold.named, self._left, claims)
        return hold

    def has(self, conversation_id: str) -> bool:
        """Whether a conversation is in the memory of this process."""
        if self.memory is None:
            return False
        try:
            self.memory.take(DEFAULT_TENANT, conversation_id)
        except NotFound:
            return False
        return True

    async def close(self) -> None:
        """Stop the engines; runs under way are handed over, or lost with the memory that they are in."""
        await self._engines.close()


class Hold:
    """Somebody's interest in a conversation."""

    def __init__(self, conversation_id: str, left: set[str], claims: Counter[str]) -> None:
        self.named, self._left, self._claims = [conversation_id], left, claims
        claims[conversation_id] += 1
        left.discard(conversation_id)

    @property
    def conversation_id(self) -> str:
        """Ours."""
        return self.named[0]

    @conversation_id.setter
    def conversation_id(self, found: str) -> None:
        self._claims[found] += 1
        _give_up(self.named[0], self._claims)
        self.named[0] = found
        self._left.discard(found)


@dataclass(slots=True)
class _Engine:
    """What carries runs out in one event loop."""

    runtime: Runtime
    agent: StoredAgent | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


async def _begun(parts: AgentParts, given: str | Store) -> _Engine:
    store = open_store(given) if isinstance(given, str) else given
    hints = open_hints(given) if isinstance(given, str) else None
    runtime = Runtime(store, {parts.performer: ProgramPerformer(parts, store)}, hints=hints)
    await ensure_open(store)
    await runtime.engine.start()
    return _Engine(runtime)


async def _stopped(engine: _Engine, *, is_lent: bool) -> None:
    await engine.runtime.engine.stop()
    if not is_lent:
        await engine.runtime.store.close()


async def ensure_open(store: Store) -> None:
    """Open a store; nothing happens if it is open already."""
    await store.open()


async def registered(store: Store, definition: AgentDefinition) -> StoredAgent:
    """Return the stored agent of this name, with this as its newest definition."""
    while True:
        try:
            found = await store.agents.get(DEFAULT_TENANT, definition.name)
        except NotFound:
            with suppress(DuplicateName):  # another process was quicker: look again
                return await store.agents.create(DEFAULT_TENANT, ids.new_id(ids.AGENT), definition)
        else:
            return await store.agents.update(DEFAULT_TENANT, found.id, definition)


def _drop(memory: SupportsTaking, named: list[str], left: set[str], claims: Counter[str]) -> None:
    _give_up(named[0], claims)
    if named[0] not in claims:  # a conversation may be held by its id, and by the one that was chosen
        left.add(named[0])
    _sweep(memory, left)


def _give_up(conversation_id: str, claims: Counter[str]) -> None:
    claims[conversation_id] -= 1
    if claims[conversation_id] <= 0:
        del claims[conversation_id]


def _sweep(memory: SupportsTaking, left: set[str]) -> None:
    """Drop what nobody holds any more; what cannot be dropped yet is left for the next time."""
    for conversation_id in sorted(left.copy(), reverse=True):  # branches before what they share
        # A run may still be ending; and who collects garbage may be in the middle of a write.
        with suppress(ConversationBusy, InvalidInput, StoreBusy):
            memory.drop(DEFAULT_TENANT, conversation_id)
            left.discard(conversation_id)
