"""Small makers of the things that tests need: each gives something usable, and takes what matters."""

from hashlib import sha256
from itertools import count
from typing import Final

from tertulia.conversations import (
    DEFAULT_TENANT,
    Accepted,
    Branch,
    Claim,
    Claimant,
    Commit,
    Conversation,
    Ending,
    Frame,
    Job,
    Multitask,
    NewConversation,
    Once,
    RunStatus,
    Step,
    Submission,
    Wait,
)
from tertulia.definitions import AgentDefinition, StoredAgent
from tertulia.errors import Failure
from tertulia.ids import AGENT, CONVERSATION, JOB, MESSAGE, OWNER, RUN, new_id
from tertulia.messages import Message, now_us
from tertulia.parts import text_content
from tertulia.stores.base import Store
from tertulia.usage import Usage

PERFORMER: Final = "agent"
HOUR_US: Final = 3_600_000_000
OVER_AT_ONCE: Final = -1
"""A lease of this many microseconds has run out when it begins."""
LONG_AGO_US: Final = 1
"""A time that is over for every clock."""
LATER_US: Final = 4_000_000_000_000_000
"""A time that no test will see."""
FAILURE: Final = Failure(code="model_busy", message="The model is busy.", retry_after=2.5)
COMPLETED: Final = Ending(status=RunStatus.COMPLETED)
FAILED: Final = Ending(status=RunStatus.FAILED, failure=FAILURE)
CANCELLED: Final = Ending(status=RunStatus.CANCELLED)
_BEGINNINGS: Final = count(now_us())
"""When steps begin: each later than the one before, as no clock tells for sure."""


def a_claimant(*, lease_us: int = HOUR_US, performers: tuple[str, ...] = (PERFORMER,)) -> Claimant:
    """Return somebody new who can carry out the runs of these performers."""
    return Claimant(owner=new_id(OWNER), performers=frozenset(performers), lease_us=lease_us)


def a_definition(
    *, name: str = "Chef", first_message: str = "Hello!", model: str | None = None
) -> AgentDefinition:
    """Return what an agent could be."""
    return AgentDefinition(
        name=name, context="A kitchen.", first_message=first_message, instructions="Cook.", model=model
    )


async def an_agent(
    store: Store, *, name: str = "Chef", first_message: str = "Hello!", tenant: int = DEFAULT_TENANT
) -> StoredAgent:
    """Store an agent."""
    definition = a_definition(name=name, first_message=first_message)
    return await store.agents.create(tenant, new_id(AGENT), definition)


def a_new_conversation(
    agent: StoredAgent, *, alias: str | None = None, agent_version: int | None = None
) -> NewConversation:
    """Return a conversation to be made, under a fresh id."""
    return NewConversation(
        id=new_id(CONVERSATION), agent_id=agent.id, alias=alias, agent_version=agent_version
    )


async def a_conversation(
    store: Store,
    agent: StoredAgent | None = None,
    *,
    alias: str | None = None,
    agent_version: int | None = None,
) -> Conversation:
    """Store a conversation, and an agent for it if none is given."""
    agent = agent or await an_agent(store)
    new = a_new_conversation(agent, alias=alias, agent_version=agent_version)
    return await store.conversations.create(agent.tenant, new)


def a_branch(
    source: Conversation,
    *,
    at: int,
    alias: str | None = None,
    is_hidden: bool = False,
    or_append: bool = False,
) -> Branch:
    """Return a branch to be made, under a fresh id."""
    return Branch(
        source=source.id,
        at=at,
        tokens=10 * at,
        id=new_id(CONVERSATION),
        alias=alias,
        is_hidden=is_hidden,
        or_append=or_append,
    )


async def a_fork(
    store: Store, source: Conversation, *, at: int, alias: str | None = None, is_hidden: bool = False
) -> Conversation:
    """Store a branch."""
    branch = a_branch(source, at=at, alias=alias, is_hidden=is_hidden)
    return await store.conversations.fork(source.tenant, branch)


def a_once(key: str = "k", request: str = "the same") -> Once:
    """Return what makes a write happen once; equal texts stand for equal requests."""
    return Once(key=key, request_hash=a_digest(request))


def a_submission(
    conversation: Conversation | NewConversation | Branch | str,
    text: str = "hello",
    *,
    key: str | None = None,
    multitask: Multitask = "enqueue",
    expected_head: int | None = None,
    performer: str = PERFORMER,
) -> Submission:
    """Return a request with fresh ids; under one key, equal texts make equal requests."""
    return Submission(
        tenant=conversation.tenant if isinstance(conversation, Conversation) else DEFAULT_TENANT,
        conversation=conversation.id if isinstance(conversation, Conversation) else conversation,
        run_id=new_id(RUN),
        message_id=new_id(MESSAGE),
        content=text_content(text),
        tokens=10,
        performer=performer,
        key=key,
        multitask=multitask,
        expected_head=expected_head,
        request_hash=a_digest(text),
    )


def a_digest(text: str) -> bytes:
    """Return 32 bytes that stand for a text."""
    return sha256(text.encode()).digest()


def an_answer(text: str = "an answer", *, author: str = "Chef", turn: int = 1) -> Message:
    """Return a message of an agent, not yet numbered."""
    return Message(
        id=new_id(MESSAGE),
        role="assistant",
        content=text_content(text),
        author=author,
        turn=turn,
        created_at=now_us(),
    )


def a_step(path: str = "turn/1/model/1", *, output: str = '{"text":"an answer"}') -> Step:
    """Return a finished step."""
    return Step(
        path=path,
        kind="model",
        identity=a_digest(path),
        output=output,
        usage=Usage(input_tokens=7, output_tokens=3, model_calls=1),
        started_at=next(_BEGINNINGS),
        ended_at=now_us(),
    )


def an_intent(path: str = "turn/1/tool/mail") -> Step:
    """Return a step that was begun and has not ended."""
    return Step(path=path, kind="tool", identity=a_digest(path), output="", started_at=next(_BEGINNINGS))


def a_decision(path: str = "turn/1/tool/mail/decision", *, output: str = '{"decision":"go on"}') -> Step:
    """Return what somebody has decided about a run that waits."""
    return Step(
        path=path,
        kind="decision",
        identity=a_digest(output),
        output=output,
        started_at=next(_BEGINNINGS),
        ended_at=now_us(),
    )


def a_wait(*, path: str = "turn/1/tool/mail", until: int = LATER_US, subject: str = "") -> Wait:
    """Return what a run could wait for."""
    return Wait(kind="approval", path=path, message="May the mail be sent?", until=until, subject=subject)


def a_frame(first: int = 0, last: int | None = None, *, text: str = "a") -> Frame:
    """Return the events from ``first`` to ``last``."""
    return Frame(first_seq=first, last_seq=first if last is None else last, data=f'["{text}"]')


def a_job(kind: str = "index", *, payload: str = "{}") -> Job:
    """Return something to be done after a commit."""
    return Job(id=new_id(JOB), kind=kind, payload=payload)


def a_finish(*texts: str, ending: Ending = COMPLETED) -> Commit:
    """Return a commit that says these texts and ends the run."""
    return Commit(messages=tuple(an_answer(text) for text in texts), tokens=10 * len(texts), ending=ending)


async def a_claimed_run(store: Store, submission: Submission, *, claimant: Claimant | None = None) -> Claim:
    """Have a request accepted that can begin at once."""
    accepted = await store.runs.accept(submission, claimant or a_claimant())
    assert accepted.claim is not None
    return accepted.claim


async def a_queued_run(store: Store, submission: Submission) -> Accepted:
    """Have a request accepted that nobody is there to carry out."""
    accepted = await store.runs.accept(submission, None)
    assert accepted.claim is None
    return accepted


async def a_failed_run(store: Store, submission: Submission) -> Claim:
    """Have a request accepted whose run then fails without an answer."""
    claim = await a_claimed_run(store, submission)
    await store.runs.commit(claim.lease, Commit(ending=FAILED), None)
    return claim


async def a_waiting_run(
    store: Store,
    submission: Submission,
    *,
    wait: Wait | None = None,
    steps: tuple[Step, ...] = (),
    claimant: Claimant | None = None,
) -> Claim:
    """Have a request accepted whose run then waits; return the claim, whose lease is over."""
    claim = await a_claimed_run(store, submission, claimant=claimant)
    await store.runs.commit(claim.lease, Commit(steps=steps, wait=wait or a_wait()), None)
    return claim


async def an_exchange(
    store: Store, conversation: Conversation, question: str = "hello", answer: str = "an answer"
) -> Claim:
    """Have a question asked and answered; return what the answering was claimed with."""
    claim = await a_claimed_run(store, a_submission(conversation, question))
    await store.runs.commit(claim.lease, a_finish(answer), None)
    return claim


async def all_texts(store: Store, conversation: Conversation) -> list[str]:
    """Return what was said in a short conversation, in order."""
    messages = await store.conversations.messages(conversation.tenant, conversation.id, limit=1_000)
    return [message.text for message in messages]


async def all_kept(store: Store, conversation: Conversation) -> list[object]:
    """Return everything that a store tells of a short conversation, to be compared with later."""
    tenant, conversation_id = conversation.tenant, conversation.id
    runs = await store.runs.page(tenant, conversation_id)
    return [
        await store.conversations.get(tenant, conversation_id),
        await store.conversations.messages(tenant, conversation_id),
        await store.conversations.pending(tenant, conversation_id),
        runs,
        [await store.runs.steps(tenant, run.id) for run in runs],
        [await store.runs.frames(tenant, run.id) for run in runs],
        await store.jobs.page(tenant),
    ]
