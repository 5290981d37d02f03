"""Every store gives the answers of the in-memory one, whatever is done to it in whatever order."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from itertools import count
from typing import Final, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from typing_extensions import override

from tertulia.conversations import (
    Accepted,
    Claim,
    Claimant,
    Commit,
    Ending,
    Lease,
    Multitask,
    NewConversation,
    Submission,
    Usage,
)
from tertulia.definitions import AgentDefinition
from tertulia.errors import TertuliaError
from tertulia.ids import AGENT, CONVERSATION, OWNER, RUN, new_id
from tertulia.stores import Store, open_store
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import (
    CANCELLED,
    COMPLETED,
    FAILED,
    HOUR_US,
    OVER_AT_ONCE,
    a_definition,
    a_step,
    a_submission,
    an_answer,
)

T = TypeVar("T")

TIMES: Final = frozenset({"created_at", "updated_at", "started_at", "ended_at"})
TENANTS: Final = count(1_000)
"""A fresh tenant for every example, so that all of them can share a database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What sort of claimant is to ask."""

    lease_us: int = HOUR_US
    can: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A submission before its ids are known."""

    place: int
    """Which known conversation it names, or which agent a new one is for."""
    alias: str | None
    is_new: bool
    text: str
    key: str | None
    multitask: Multitask
    expected_head: int | None


places = st.integers(0, 100)
backs = st.integers(0, 3)
aliases = st.sampled_from([None, None, None, "one", "two"])
present = st.sampled_from([Wanted(), Wanted(), Wanted(lease_us=OVER_AT_ONCE), Wanted(can=False)])
claimants = st.none() | present
requests = st.builds(
    Request,
    place=places,
    alias=aliases,
    is_new=st.sampled_from([False, False, True]),
    text=st.sampled_from(["x", "x", "y"]),
    key=st.sampled_from([None, "k", "l"]),
    multitask=st.sampled_from(["enqueue", "enqueue", "enqueue", "reject"]),
    expected_head=st.sampled_from([None] * 6 + [0, 1, 2]),
)
commits = st.builds(
    Commit,
    steps=st.sets(st.integers(1, 4), max_size=2).map(
        lambda n: tuple(a_step(f"model/{i}") for i in sorted(n))
    ),
    messages=st.integers(0, 2).map(lambda n: tuple(an_answer(f"answer {i}") for i in range(n))),
    state=st.sampled_from([None, '{"turn":1}', '{"turn":2}']),
    usage=st.none() | st.builds(Usage, input_tokens=st.integers(0, 9), model_calls=st.integers(0, 2)),
    ending=st.sampled_from([None, COMPLETED, COMPLETED, FAILED, FAILED, CANCELLED]),
).map(lambda commit: replace(commit, tokens=3 * len(commit.messages)))
definitions = st.builds(
    a_definition,
    name=st.sampled_from(["Agent 0", "Agent 1", "Another"]),
    first_message=st.sampled_from(["", "Hello!"]),
)


def told(value: object) -> object:
    """Return an answer without its times; of these only whether there are any."""
    if is_dataclass(value) and not isinstance(value, type):
        kept = {f.name: getattr(value, f.name) for f in fields(value)}
        return type(value), {name: bool(v) if name in TIMES else told(v) for name, v in kept.items()}
    if isinstance(value, list | tuple):
        return [told(item) for item in value]
    return value


class Agreement(RuleBasedStateMachine):
    """Does the same to the reference and to another store, and compares what they say."""

    make_other: Callable[[], Store]

    def __init__(self) -> None:
        super().__init__()
        self.tenant = next(TENANTS)
        self.performer = f"performer of {self.tenant}"
        self.runner = asyncio.Runner()
        self.stores = (InMemoryStore(), type(self).make_other())
        self.agree = True
        self.touched: tuple[str, str] | None = None
        """Conversation and run that the last step was about."""
        self.agents: list[str] = []
        self.conversations: list[str] = []
        self.runs: list[str] = []
        self.leases: list[Lease] = []
        """Those that may still be good for something."""
        self.spent: list[Lease] = []

    def both(self, ask: Callable[[Store], Awaitable[T]]) -> T | None:
        """Ask both stores the same; return the answer, ``None`` if they refuse alike."""

        async def answer(store: Store) -> tuple[object, T | None]:
            try:
                found = await ask(store)
            except TertuliaError as refusal:
                return type(refusal), None
            return told(found), found

        expected, actual = (self.runner.run(answer(store)) for store in self.stores)
        self.agree = actual[0] == expected[0]
        assert actual[0] == expected[0]
        return expected[1]

    def claimant(self, wanted: Wanted) -> Claimant:
        performer = self.performer if wanted.can else "performer of nobody"
        return Claimant(owner=new_id(OWNER), performers=frozenset({performer}), lease_us=wanted.lease_us)

    def place(self, places: list[str], place: int) -> str:
        """Return one of these ids, or one that nobody knows."""
        return places[place % len(places)] if places else new_id(CONVERSATION)

    def note_conversation(self, conversation_id: str) -> None:
        if conversation_id not in self.conversations:
            self.conversations.append(conversation_id)

    def note(self, accepted: Accepted | None) -> None:
        if accepted is not None:
            self.note_conversation(accepted.conversation.id)
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
            self.make_agent(a_definition(name=name))

        for agent_id in self.agents:
            self.make_conversation(NewConversation(id=new_id(CONVERSATION), agent_id=agent_id))

    def make_agent(self, definition: AgentDefinition) -> None:
        agent_id = new_id(AGENT)
        self.agents.append(agent_id)
        self.both(lambda s: s.agents.create(self.tenant, agent_id, definition))

    @rule(place=places, definition=definitions)
    def update_agent(self, place: int, definition: AgentDefinition) -> None:
        agent_id = self.place(self.agents, place)

        self.both(lambda s: s.agents.update(self.tenant, agent_id, definition))

    @rule(place=places, alias=aliases, version=st.sampled_from([None, None, 1, 2]), again=st.booleans())
    def create_conversation(self, place: int, alias: str | None, version: int | None, again: bool) -> None:
        new = NewConversation(
            id=self.place(self.conversations, place) if again else new_id(CONVERSATION),
            agent_id=self.place(self.agents, place),
            alias=alias,
            user_id="somebody",
            agent_version=version,
        )
        self.make_conversation(new)

    def make_conversation(self, new: NewConversation) -> None:
        made = self.both(lambda s: s.conversations.create(self.tenant, new))

        if made is not None:
            self.note_conversation(made.id)

    @rule(request=requests, wanted=claimants)
    def ask(self, request: Request, wanted: Wanted | None) -> None:
        self.accept(request, wanted)

    def accept(self, request: Request, wanted: Wanted | None) -> None:
        submission = self.submission(request)
        claimant = self.claimant(wanted) if wanted else None

        self.note(self.both(lambda s: s.runs.accept(submission, claimant)))

    @rule(place=places, text=st.sampled_from(["x", "y"]), key=st.sampled_from([None, "k"]), wanted=claimants)
    def ask_plainly(self, place: int, text: str, key: str | None, wanted: Wanted | None) -> None:
        plain = Request(
            place=place, alias=None, is_new=False, text=text, key=key, multitask="enqueue", expected_head=None
        )
        self.accept(plain, wanted)

    def submission(self, request: Request) -> Submission:
        submission = a_submission(
            request.alias or self.place(self.conversations, request.place),
            request.text,
            key=request.key,
            multitask=request.multitask,
            expected_head=request.expected_head,
            performer=self.performer,
        )
        if request.is_new:
            agent_id = self.place(self.agents, request.place)
            new = NewConversation(id=new_id(CONVERSATION), agent_id=agent_id, alias=request.alias)
            submission = replace(submission, conversation=new)
        return replace(submission, tenant=self.tenant)

    @precondition(lambda self: self.leases)
    @rule(back=backs, commit=commits, wanted=claimants)
    def commit_by_one_of_the_newest(self, back: int, commit: Commit, wanted: Wanted | None) -> None:
        self.commit(self.newest_leases(back)[0], commit, wanted)

    @precondition(lambda self: self.leases)
    @rule(back=backs, ending=st.sampled_from([COMPLETED, FAILED]), wanted=claimants)
    def end_one_of_the_newest(self, back: int, ending: Ending, wanted: Wanted | None) -> None:
        self.commit(self.newest_leases(back)[0], Commit(ending=ending), wanted)

    @precondition(lambda self: self.spent)
    @rule(place=places, commit=commits, wanted=claimants)
    def commit_too_late(self, place: int, commit: Commit, wanted: Wanted | None) -> None:
        self.commit(self.spent[place % len(self.spent)], commit, wanted)

    def newest_leases(self, back: int) -> list[Lease]:
        """Return the last leases that were given, beginning ``back`` from the end."""
        return self.leases[-1 - back :]

    def commit(self, lease: Lease, commit: Commit, wanted: Wanted | None) -> None:
        claimant = self.claimant(wanted) if wanted else None

        committed = self.both(lambda s: s.runs.commit(lease, commit, claimant))

        if (committed is None or commit.ending) and lease in self.leases:
            self.leases.remove(lease)
            self.spent.append(lease)
        if committed is not None:
            self.hold(committed.next)
        self.touched = (lease.conversation_id, lease.run_id)

    @precondition(lambda self: self.leases)
    @rule(back=backs, wanted=present)
    def fail_and_retry(self, back: int, wanted: Wanted) -> None:
        lease = self.newest_leases(back)[0]
        self.commit(lease, Commit(ending=FAILED), None)
        self.retry(lease.run_id, wanted)

    @precondition(lambda self: self.runs)
    @rule(place=places, wanted=present)
    def retry_any(self, place: int, wanted: Wanted) -> None:
        self.retry(self.runs[place % len(self.runs)], wanted)

    def retry(self, run_id: str, wanted: Wanted) -> None:
        new_run_id, claimant = new_id(RUN), self.claimant(wanted)

        self.note(self.both(lambda s: s.runs.retry(self.tenant, run_id, new_run_id, claimant)))

    @precondition(lambda self: self.runs)
    @rule(wanted=present)
    def claim(self, wanted: Wanted) -> None:
        claimant = self.claimant(wanted)

        async def ask(store: Store) -> list[Claim]:
            claims = await store.runs.claim(claimant, limit=100)
            return sorted(claims, key=lambda claim: claim.run.id)

        self.hold(*self.both(ask) or [])

    @precondition(lambda self: self.leases)
    @rule(back=backs, lease_us=st.sampled_from([HOUR_US, OVER_AT_ONCE]))
    def renew(self, back: int, lease_us: int) -> None:
        leases = self.newest_leases(back)

        self.both(lambda s: s.runs.renew(leases, lease_us=lease_us))

    @precondition(lambda self: self.leases)
    @rule(back=backs)
    def release(self, back: int) -> None:
        leases = self.newest_leases(back)[:2]

        self.both(lambda s: s.runs.release(leases))

    @invariant()
    def look_at_what_was_touched(self) -> None:
        if self.touched is not None:
            conversation_id, run_id = self.touched
            self.look_at_conversation(conversation_id)
            self.look_at_run(run_id)
            self.touched = None

    def look_at_conversation(self, conversation: str) -> None:
        """Compare a conversation, whose numbers are 1 … head."""
        row = self.both(lambda s: s.conversations.get(self.tenant, conversation))
        messages = self.both(lambda s: s.conversations.messages(self.tenant, conversation, limit=1_000))
        self.both(lambda s: s.conversations.pending(self.tenant, conversation))

        assert row is not None
        assert [message.number for message in messages or []] == list(range(1, row.head + 1))

    def look_at_run(self, run_id: str) -> None:
        self.both(lambda s: s.runs.get(self.tenant, run_id))
        self.both(lambda s: s.runs.steps(self.tenant, run_id))

    def look_at_agent(self, agent_id: str) -> None:
        self.both(lambda s: s.agents.get(self.tenant, agent_id))
        self.both(lambda s: s.conversations.page(self.tenant, agent_id))

    def look_at_everything(self) -> None:
        for conversation in self.conversations:
            self.look_at_conversation(conversation)
        for run_id in dict.fromkeys(self.runs):
            self.look_at_run(run_id)
        for agent_id in self.agents:
            self.look_at_agent(agent_id)

    @override
    def teardown(self) -> None:
        try:
            if self.agree:
                self.look_at_everything()
        finally:
            for store in self.stores:
                self.runner.run(store.close())
            self.runner.close()


def test_store_agrees_with_the_reference(store_url: str) -> None:
    class Here(Agreement):
        make_other = partial(open_store, store_url)

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
