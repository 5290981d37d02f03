"""Small makers of the things that tests need: each gives something usable, and takes what matters."""

from hashlib import sha256
from typing import Final

from tertulia.conversations import (
    DEFAULT_TENANT,
    Accepted,
    Claim,
    Claimant,
    Commit,
    Conversation,
    Ending,
    Multitask,
    NewConversation,
    RunStatus,
    Step,
    Submission,
    Usage,
)
from tertulia.definitions import Agent, AgentDefinition
from tertulia.errors import Failure
from tertulia.ids import AGENT, CONVERSATION, MESSAGE, OWNER, RUN, new_id
from tertulia.messages import Message, now_us, text_content
from tertulia.stores.base import Store

PERFORMER: Final = "agent"
HOUR_US: Final = 3_600_000_000
OVER_AT_ONCE: Final = -1
"""A lease of this many microseconds has run out when it begins."""
FAILURE: Final = Failure(code="model_busy", message="The model is busy.", retry_after=2.5)
COMPLETED: Final = Ending(status=RunStatus.COMPLETED)
FAILED: Final = Ending(status=RunStatus.FAILED, failure=FAILURE)
CANCELLED: Final = Ending(status=RunStatus.CANCELLED)


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
) -> Agent:
    """Store an agent."""
    definition = a_definition(name=name, first_message=first_message)
    return await store.agents.create(tenant, new_id(AGENT), definition)


def a_new_conversation(
    agent: Agent, *, alias: str | None = None, agent_version: int | None = None
) -> NewConversation:
    """Return a conversation to be made, under a fresh id."""
    return NewConversation(
        id=new_id(CONVERSATION), agent_id=agent.id, alias=alias, agent_version=agent_version
    )


async def a_conversation(
    store: Store, agent: Agent | None = None, *, alias: str | None = None, agent_version: int | None = None
) -> Conversation:
    """Store a conversation, and an agent for it if none is given."""
    agent = agent or await an_agent(store)
    new = a_new_conversation(agent, alias=alias, agent_version=agent_version)
    return await store.conversations.create(agent.tenant, new)


def a_submission(
    conversation: Conversation | NewConversation | str,
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
        started_at=now_us(),
        ended_at=now_us(),
    )


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
