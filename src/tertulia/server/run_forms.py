"""What the routes of runs, conversations and jobs take and give, field by field."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Generic, TypeVar

import orjson
from pydantic import AfterValidator, BaseModel, Field

from tertulia.conversations import JobStatus, RunStatus
from tertulia.engine import VERDICTS
from tertulia.server.bodies import Body, shown_as
from tertulia.server.options import Options
from tertulia.server.tutorial_forms import WHOSE, Closed, Ident, User

MAX_NUMBER = 2**53
"""Of a message; what JSON's readers everywhere read exactly."""
MAX_PATH = 500
MAX_VALUE = 65_536
"""Bytes, as JSON, of what goes with a decision."""

Row = TypeVar("Row")


def _keepable(value: object) -> object:
    try:
        kept = orjson.dumps(value)
    except TypeError:
        raise ValueError("it holds a number of more than 64 bits") from None
    if len(kept) > MAX_VALUE:
        raise ValueError(f"as JSON it has more than {MAX_VALUE} bytes")
    if any("\x00" in text for text in _texts(value)):
        raise ValueError("it holds a NUL character; remove it")
    return value


def _texts(value: object) -> Iterator[str]:
    """Yield every text in a JSON value, names of fields too."""
    left = [value]
    while left:
        match left.pop():
            case str() as text:
                yield text
            case dict() as fields:
                left += [*fields, *fields.values()]
            case list() as values:
                left += values


Word = Annotated[str, Field(min_length=1, max_length=64)]
Note = Annotated[str, Field(max_length=512)]
Number = Annotated[int, Field(ge=1, le=MAX_NUMBER)]


class Mode(Body):
    """How the answer is to come."""

    stream: bool = Field(default=False, description="Tell the run's events as they happen.")
    background: bool = Field(
        default=False, description="Answer with 202 as soon as the run is kept; a stream does so anyway."
    )


class NewRun(Options, Mode):
    """A message for an agent, in a conversation that is there or in a new one."""

    model_config = shown_as(
        {
            "conversation_id": "dinner",
            "message": "And for dessert?",
        },
        oneOf=[{"required": ["conversation_id"]}, {"required": ["agent_id"]}],
    )

    message: str = Field(min_length=1)
    conversation_id: Ident | None = None
    agent_id: Ident | None = Field(
        default=None, description="Instead of a conversation: begin a new one with this agent."
    )
    user: User | None = Field(default=None, description=f"Only with `agent_id`. {WHOSE}")
    edit: Number | None = Field(
        default=None,
        description="Number of a message of the user: the new message is said in its place, in a branch of "
        "the conversation. What was said stays as it is.",
    )
    metadata: dict[Word, Note] = Field(
        default_factory=dict, max_length=16, description="Kept with the run, and shown with it."
    )


class Again(Mode):
    """A failed run is to be tried once more."""


class Cancel(Body):
    """A run is to stop."""

    keep_partial: bool = Field(
        default=False, description="Keep what was said so far, marked as incomplete; else it is dropped."
    )


class Decide(Body):
    """How a waiting run goes on."""

    model_config = shown_as({"verdict": "approve", "path": "turn/1/tool/1/1/approval"})

    verdict: Word = Field(
        description="One of the `verdicts` of what the run waits for. "
        + "; ".join(f"`{kind}`: {', '.join(verdicts)}" for kind, verdicts in VERDICTS.items())
        + "."
    )
    path: Annotated[str, Field(min_length=1, max_length=MAX_PATH)] | None = Field(
        default=None,
        description="The `path` of what the run waits for: if that is something else by now, nothing is "
        "decided. An `Idempotency-Key` needs it.",
    )
    value: Annotated[Any, AfterValidator(_keepable)] = Field(
        default=None,
        description="What goes with the verdict: with `done` what came of the step, with `deny` why, with "
        f"`say` what is said; at most {MAX_VALUE} bytes.",
    )


_USE: Final = "turn/1/tool/1/1"
DECISIONS: Final[Mapping[str, Mapping[str, object]]] = {
    "approval: approve": {"verdict": "approve", "path": f"{_USE}/approval"},
    "approval: deny, and say why": {
        "verdict": "deny",
        "value": "That is too many.",
        "path": f"{_USE}/approval",
    },
    "unknown_outcome: retry": {"verdict": "retry", "path": _USE},
    "unknown_outcome: done, with what came of it": {"verdict": "done", "value": "Ordered.", "path": _USE},
    "unknown_outcome: fail": {"verdict": "fail", "path": _USE},
    "needs_attention: redo": {"verdict": "redo", "path": _USE},
    "needs_attention: keep": {"verdict": "keep", "path": _USE},
    "needs_attention: fail": {"verdict": "fail", "path": _USE},
    "turn: say": {"verdict": "say", "value": "I would rather eat fish.", "path": "turn/2/person"},
}
"""What a decision can look like, by what the run waits for."""


class Fork(Body):
    """A branch to be made."""

    model_config = shown_as({"at": 2, "id": "dinner-without-fish"})

    at: int | None = Field(
        default=None, ge=0, le=MAX_NUMBER, description="How many messages are shared; default: all there are."
    )
    id: Ident | None = Field(
        default=None, description="An id of your own. The same one again names the same branch."
    )


class Withdraw(Body):
    """Messages that models are no longer to be shown."""

    model_config = shown_as({"numbers": [2]})

    numbers: list[Number] = Field(min_length=1, max_length=1000)


class Close(Body):
    """A conversation is to take no further message."""

    model_config = shown_as({"reason": "The booking is made."})

    reason: Annotated[str, Field(min_length=1, max_length=512)] = Field(
        default="it was closed on request", description="Is told to whoever writes in it nevertheless."
    )


class Wait(BaseModel):
    """What a run waits for: somebody's decision."""

    kind: str
    path: str
    message: str
    subject: Any = Field(description="What it is about, such as the use of a tool to be approved.")
    until: datetime
    verdicts: list[str]


class Message(BaseModel):
    """Something that was said; without a number as long as it waits for one."""

    object: str
    id: str
    number: int | None
    role: str
    author: str | None
    content: list[dict[str, Any]] = Field(
        description="Its parts, in order: `text`, `media`, `tool_call`, `tool_result`."
    )
    reasoning: list[str] = Field(description="What was thought before it was said, as far as that is known.")
    run_id: str | None
    turn: int
    withdrawn: bool
    incomplete: bool
    deleted: bool
    created_at: datetime


class Asked(BaseModel):
    """The message that a run answers."""

    message_id: str
    number: int | None


class Usage(BaseModel):
    """What a run cost."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = Field(description="Of the input, what the provider took from its prompt cache.")
    reasoning_tokens: int = Field(description="Of the output, what the model thought with and did not say.")
    model_calls: int
    wasted_calls: int = Field(description="Calls made again because an answer may have been lost.")
    tool_calls: int
    cost_usd: float = Field(description="By the price table, without the calls whose price is not known.")
    unpriced_calls: int = Field(description="Calls of models whose price is not known.")


class Run(BaseModel):
    """One accepted message, until everything that it caused is kept."""

    object: str
    id: str
    conversation_id: str
    n: int
    status: RunStatus
    stop: str | None
    wait: Wait | None
    error: dict[str, Any] | None = Field(description="A problem document.")
    input: Asked
    performer: str
    agent_version: int | None
    settings: dict[str, Any]
    limits: dict[str, Any]
    metadata: dict[str, str]
    attempt: int
    usage: Usage
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class SpokenRun(Run):
    """A run with what was said in it."""

    messages: list[Message]
    closed: Closed | None = Field(description="Set when the conversation has come to its end with it.")


class Step(BaseModel):
    """A part of a run's work that is never done twice; its output is let go of when the run ends."""

    object: str
    path: str
    kind: str
    output: Any
    external_id: str | None
    usage: Usage
    started_at: datetime
    ended_at: datetime | None = Field(description="null while what became of it is not known.")


class StoredConversation(BaseModel):
    """A conversation; a branch has a parent, and shares the messages up to its base with it."""

    object: str
    id: str
    alias: str | None
    agent_id: str
    agent_version: int | None
    user_id: str | None
    parent_id: str | None
    base: int
    hidden: bool
    head: int
    closed: str | None = Field(description="Why it takes no further message; null while it does.")
    version: int
    created_at: datetime


class StandingConversation(StoredConversation):
    """A conversation with what is going on in it."""

    run: Run | None = Field(description="The run that holds it: it is running, or waits for a decision.")
    pending: list[Message] = Field(description="Accepted messages that wait for their number.")


class Job(BaseModel):
    """Something that is done after a commit; one that is done is gone."""

    object: str
    id: str
    kind: str
    status: JobStatus
    conversation_id: str | None
    run_id: str | None
    attempt: int
    due_at: datetime | None
    error: str | None
    created_at: datetime


class Listing(BaseModel, Generic[Row]):
    """A page of a list."""

    object: str
    data: list[Row]
    has_more: bool
    cursor: str | None = Field(description="What the next page is asked for with, as `after`.")
