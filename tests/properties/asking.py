"""What callers do to a store: agents, conversations, branches, requests, stops and decisions."""

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tertulia.conversations import Accepted, Branch, NewConversation, Stop, Submission
from tertulia.definitions import AgentDefinition
from tertulia.ids import AGENT, CONVERSATION, RUN, new_id
from tertulia.messages import Flag
from tertulia.testing.builders import a_decision, a_submission
from tests.properties.agreeing import Agreeing
from tests.properties.wishes import (
    Fork,
    Request,
    Wanted,
    aliases,
    backs,
    claimants,
    definitions,
    flags,
    forks,
    keys,
    numbers,
    once,
    places,
    plain_requests,
    present,
    reasons,
    requests,
    stops,
    texts,
)


class Asking(Agreeing):
    """The rules of those who ask."""

    @rule(definition=definitions, key=keys, text=texts, place=st.none() | places)
    def define_agent(
        self, definition: AgentDefinition, key: str | None, text: str, place: int | None
    ) -> None:
        agent_id = new_id(AGENT) if place is None else self.place(self.agents, place)
        with_key = once(key, text, what="agent")

        if place is None:
            agent = self.both(lambda s: s.agents.create(self.tenant, agent_id, definition, once=with_key))
        else:
            agent = self.both(lambda s: s.agents.update(self.tenant, agent_id, definition))

        if agent is not None and agent.id not in self.agents:
            self.agents.append(agent.id)

    @rule(
        place=places,
        alias=aliases,
        version=st.sampled_from([None, None, 1, 2]),
        again=st.booleans(),
        key=keys,
    )
    def create_conversation(
        self, place: int, alias: str | None, version: int | None, again: bool, key: str | None
    ) -> None:
        new = NewConversation(
            id=self.place(self.conversations, place) if again else new_id(CONVERSATION),
            agent_id=self.place(self.agents, place),
            alias=alias,
            user_id="somebody",
            agent_version=version,
        )
        with_key = once(key, alias or "", what="conversation")

        self.note_conversation(self.both(lambda s: s.conversations.create(self.tenant, new, once=with_key)))

    @rule(fork=forks, key=keys, flag=st.none() | flags)
    def fork_any(self, fork: Fork, key: str | None, flag: Flag | None) -> None:
        self.fork_and_mark(fork, flag, key=key)

    def fork_and_mark(self, fork: Fork, flag: Flag | None, *, key: str | None = None) -> None:
        branch = self.branch(fork)
        with_key = once(key, str(branch.at), what="branch")

        made = self.both(lambda s: s.conversations.fork(self.tenant, branch, once=with_key))

        self.note_conversation(made)
        if made is not None and made.parent_id is not None and flag is not None:
            self.mark_in(made.parent_id, [max(made.base, 1)], flag)
        if made is not None:
            self.look_at_conversation(made.id)

    @rule(place=places, reason=reasons)
    def close_or_open(self, place: int, reason: str | None) -> None:
        conversation_id = self.place(self.conversations, place)

        self.both(lambda s: s.conversations.set_closed(self.tenant, conversation_id, reason))

        self.look_at_conversation(conversation_id)

    def branch(self, fork: Fork) -> Branch:
        source = self.place(self.conversations, fork.place)
        known = None if fork.again is None else self.place(self.conversations, fork.again)
        at = fork.place_in_it if fork.is_wild else fork.place_in_it % (self.head(source) + 1)
        return Branch(
            source=source,
            at=at,
            tokens=7 * at,
            id=known or new_id(CONVERSATION),
            alias=fork.alias,
            is_hidden=fork.is_hidden,
            or_append=fork.or_append,
        )

    @rule(fork=forks, request=requests, wanted=claimants)
    def ask_in_branch(self, fork: Fork, request: Request, wanted: Wanted | None) -> None:
        self.submit(replace(self.submission(request), conversation=self.branch(fork)), wanted)

    @rule(place=places, marked=numbers, flag=flags, is_wild=st.sampled_from([False, False, False, True]))
    def mark(self, place: int, marked: list[int], flag: Flag, is_wild: bool) -> None:
        conversation_id = self.place(self.conversations, place)
        head = self.head(conversation_id)
        chosen = marked if is_wild or not head else [1 + number % head for number in marked]

        self.mark_in(conversation_id, chosen, flag)

    def mark_in(self, conversation_id: str, marked: list[int], flag: Flag) -> None:
        self.both(lambda s: s.conversations.mark(self.tenant, conversation_id, marked, flag))

        self.look_at_conversation(conversation_id)

    @rule(request=requests, wanted=claimants)
    def ask(self, request: Request, wanted: Wanted | None) -> None:
        self.submit(self.submission(request), wanted)

    @rule(request=plain_requests, wanted=claimants)
    def ask_plainly(self, request: Request, wanted: Wanted | None) -> None:
        self.submit(self.submission(request), wanted)

    def submit(self, submission: Submission, wanted: Wanted | None) -> Accepted | None:
        claimant = self.somebody(wanted)

        accepted = self.both(lambda s: s.runs.accept(submission, claimant))

        self.note(accepted)
        return accepted

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
        return replace(submission, tenant=self.tenant, reopens=request.reopens)

    @precondition(lambda self: self.runs)
    @rule(place=places, wanted=present, key=keys)
    def retry_any(self, place: int, wanted: Wanted, key: str | None) -> None:
        self.retry(self.place(self.runs, place), wanted, key=key)

    def retry(self, run_id: str, wanted: Wanted, *, key: str | None = None) -> None:
        new_run_id, claimant = new_id(RUN), self.claimant(wanted)
        with_key = once(key, "", what="retry")

        self.note(self.both(lambda s: s.runs.retry(self.tenant, run_id, new_run_id, claimant, once=with_key)))

    @precondition(lambda self: self.runs)
    @rule(place=places, how=stops, wanted=claimants)
    def stop_any(self, place: int, how: Stop, wanted: Wanted | None) -> None:
        self.stop(self.place(self.runs, place), how, wanted)

    @precondition(lambda self: self.leases)
    @rule(how=stops, wanted=claimants)
    def stop_the_newest(self, how: Stop, wanted: Wanted | None) -> None:
        self.stop(self.leases[-1].run_id, how, wanted)

    def stop(self, run_id: str, how: Stop, wanted: Wanted | None) -> None:
        claimant = self.somebody(wanted)

        stopped = self.both(lambda s: s.runs.stop(self.tenant, run_id, how, claimant))

        if stopped is not None:
            self.hold(stopped.next)
            self.touched = (stopped.run.conversation_id, run_id)

    @precondition(lambda self: self.waits)
    @rule(back=backs, path=st.sampled_from(["a", "b"]), wanted=present)
    def decide(self, back: int, path: str, wanted: Wanted) -> None:
        self.decide_about(self.newest(self.waits, back), path, wanted)

    @precondition(lambda self: self.runs)
    @rule(place=places, wanted=present)
    def decide_about_any(self, place: int, wanted: Wanted) -> None:
        self.decide_about(self.place(self.runs, place), "a", wanted)

    def decide_about(self, run_id: str, path: str, wanted: Wanted) -> None:
        decision, claimant = a_decision(f"decision/{path}"), self.claimant(wanted)

        self.note(self.both(lambda s: s.runs.decide(self.tenant, run_id, decision, claimant)))
