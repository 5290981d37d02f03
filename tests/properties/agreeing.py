"""Two stores that are asked the same, and what is known of them meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields, is_dataclass
from itertools import count
from typing import Final, TypeVar

from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant
from typing_extensions import override

from tertulia.conversations import (
    Accepted,
    Claim,
    Claimant,
    Commit,
    Conversation,
    Lease,
    NewConversation,
    StoredJob,
)
from tertulia.definitions import AgentDefinition
from tertulia.errors import TertuliaError
from tertulia.ids import AGENT, CONVERSATION, OWNER, new_id
from tertulia.messages import Message
from tertulia.stores import Store
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import a_definition
from tests.properties.wishes import Wanted

T = TypeVar("T")

TIMES: Final = frozenset({"created_at", "updated_at", "started_at", "ended_at", "due_at"})
TENANTS: Final = count(1_000)
"""A fresh tenant for every example, so that all of them can share a database."""


def told(value: object) -> object:
    """Return an answer without its times; of these only whether there are any."""
    if is_dataclass(value) and not isinstance(value, type):
        kept = {f.name: getattr(value, f.name) for f in fields(value)}
        return type(value), {name: bool(v) if name in TIMES else told(v) for name, v in kept.items()}
    if isinstance(value, list | tuple):
        return [told(item) for item in value]
    if isinstance(value, dict):
        return {name: told(item) for name, item in value.items()}
    return value


class Agreeing(RuleBasedStateMachine):
    """Does the same to the reference and to another store, and compares what they say."""

    make_other: Callable[[], Store]

    def __init__(self) -> None:
        super().__init__()
        self.tenant = next(TENANTS)
        self.performer = f"performer of {self.tenant}"
        self.job_kind = f"kind of {self.tenant}"
        self.runner = asyncio.Runner()
        self.stores = (InMemoryStore(), type(self).make_other())
        self.agree = True
        self.refusal: type[TertuliaError] | None = None
        """What the stores answered to the last request, if they refused it."""
        self.touched: tuple[str, str] | None = None
        """Conversation and run that the last step was about."""
        self.agents: list[str] = []
        self.conversations: list[str] = []
        self.runs: list[str] = []
        self.waits: list[str] = []
        """Runs that were told to wait."""
        self.leases: list[Lease] = []
        """Those that may still be good for something."""
        self.spent: list[Lease] = []
        self.written: list[tuple[Lease, Commit]] = []
        self.jobs: list[str] = []
        self.claimed: list[tuple[StoredJob, ...]] = []
        """Jobs as each of the stores handed them out."""

    def each(self, ask: Callable[[Store], Awaitable[T]]) -> tuple[T, ...] | None:
        """Ask both stores the same; return their answers, ``None`` if they refuse alike."""

        async def answer(store: Store) -> tuple[object, T | None]:
            try:
                found = await ask(store)
            except TertuliaError as refusal:
                return type(refusal), None
            return told(found), found

        expected, actual = (self.runner.run(answer(store)) for store in self.stores)
        self.agree = actual[0] == expected[0]
        assert actual[0] == expected[0]
        refused = expected[0]
        self.refusal = refused if isinstance(refused, type) and issubclass(refused, TertuliaError) else None
        return None if self.refusal else (expected[1], actual[1])  # type: ignore[return-value]  # answers

    def both(self, ask: Callable[[Store], Awaitable[T]]) -> T | None:
        """Ask both stores the same; return the answer, ``None`` if they refuse alike."""
        answers = self.each(ask)
        return answers[0] if answers else None

    def claimant(self, wanted: Wanted) -> Claimant:
        performer = self.performer if wanted.can else "performer of nobody"
        return Claimant(owner=new_id(OWNER), performers=frozenset({performer}), lease_us=wanted.lease_us)

    def somebody(self, wanted: Wanted | None) -> Claimant | None:
        return self.claimant(wanted) if wanted else None

    def place(self, places: list[str], place: int) -> str:
        """Return one of these ids, or one that nobody knows."""
        return places[place % len(places)] if places else new_id(CONVERSATION)

    def newest(self, places: Sequence[T], back: int) -> T:
        """Return one of the last of these, ``back`` from the end if there are so many."""
        return places[-1 - back :][0]

    def head(self, conversation: str) -> int:
        row = self.both(lambda s: s.conversations.get(self.tenant, conversation))
        return row.head if row else 0

    def note_conversation(self, conversation: Conversation | None) -> None:
        if conversation is not None and conversation.id not in self.conversations:
            self.conversations.append(conversation.id)

    def note(self, accepted: Accepted | None) -> None:
        if accepted is not None:
            self.note_conversation(accepted.conversation)
            self.runs.append(accepted.run.id)
            self.hold(accepted.claim)
            self.touched = (accepted.conversation.id, accepted.run.id)

    def hold(self, *claims: Claim | None) -> None:
        self.leases.extend(claim.lease for claim in claims if claim is not None)

    @initialize()
    def open_stores(self) -> None:
        for store in self.stores:
            self.runner.run(store.open())
        for name in ("Agent 0", "Agent 1"):
            self.open_agent(a_definition(name=name))

    def open_agent(self, definition: AgentDefinition) -> None:
        """Make an agent and a conversation with it."""
        agent_id = new_id(AGENT)
        new = NewConversation(id=new_id(CONVERSATION), agent_id=agent_id)

        self.both(lambda s: s.agents.create(self.tenant, agent_id, definition))
        self.note_conversation(self.both(lambda s: s.conversations.create(self.tenant, new)))

        self.agents.append(agent_id)

    @invariant()
    def look_at_what_was_touched(self) -> None:
        if self.touched is not None:
            conversation_id, run_id = self.touched
            self.look_at_conversation(conversation_id)
            self.look_at_run(run_id)
            self.touched = None

    def look_at_conversation(self, conversation: str) -> tuple[Conversation, list[Message]]:
        """Compare a conversation, whose numbers are 1 … head."""
        row = self.both(lambda s: s.conversations.get(self.tenant, conversation))
        messages = self.both(lambda s: s.conversations.messages(self.tenant, conversation, limit=1_000))
        self.both(lambda s: s.conversations.pending(self.tenant, conversation))
        self.both(lambda s: s.states.all_of(self.tenant, conversation))

        assert row is not None
        assert messages is not None
        assert [message.number for message in messages] == list(range(1, row.head + 1))
        return row, messages

    def look_at_runs(self, conversation: str) -> None:
        self.both(lambda s: s.runs.page(self.tenant, conversation, limit=1_000))

    def look_at_agent(self, agent_id: str) -> None:
        self.both(lambda s: s.agents.get(self.tenant, agent_id))
        self.both(lambda s: s.conversations.page(self.tenant, agent_id))

    def look_at_run(self, run_id: str) -> None:
        self.both(lambda s: s.runs.get(self.tenant, run_id))
        self.both(lambda s: s.runs.steps(self.tenant, run_id))
        self.both(lambda s: s.runs.frames(self.tenant, run_id))

    def look_at_branches(self) -> None:
        """Compare every conversation; a branch begins with the very messages of its parent."""
        said: dict[str, list[Message]] = {}
        for conversation in self.conversations:
            row, said[conversation] = self.look_at_conversation(conversation)
            if row.parent_id is not None:
                assert said[conversation][: row.base] == said[row.parent_id][: row.base]

    def look_at_everything(self) -> None:
        self.look_at_branches()
        for conversation in self.conversations:
            self.look_at_runs(conversation)
        for run_id in dict.fromkeys(self.runs):
            self.look_at_run(run_id)
        for agent_id in self.agents:
            self.look_at_agent(agent_id)
        self.both(lambda s: s.runs.waiting(self.tenant))
        self.both(lambda s: s.jobs.page(self.tenant, limit=1_000))

    @override
    def teardown(self) -> None:
        try:
            if self.agree:
                self.look_at_everything()
        finally:
            for store in self.stores:
                self.runner.run(store.close())
            self.runner.close()
