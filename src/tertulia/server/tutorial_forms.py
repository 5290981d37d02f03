"""What the tutorial's surface takes and gives, field by field."""

from datetime import datetime
from typing import Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from tertulia import definitions
from tertulia.runtime import MAX_NAME
from tertulia.server.bodies import Body, shown_as
from tertulia.server.options import Limits, Options, Settings


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it must be printable")
    return text


Ident = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
User = Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_printable)]
"""Who speaks in a conversation, as whoever runs the service calls them."""
WHOSE: Final = (
    "Who speaks in the new conversation, by a name or an id of yours: what context providers learn of them "
    "they know in their other conversations with this agent."
)
MAX_MODEL: Final = 200
MAX_MODELS: Final = 8
ModelName = Annotated[str, Field(max_length=MAX_MODEL), AfterValidator(_printable)]
Chain = Annotated[str, Field(max_length=MAX_MODELS * (MAX_MODEL + 2)), AfterValidator(_printable)]
"""One model, or several with commas between them; :func:`tertulia.server.defining.model_of` checks it."""
Models = Annotated[list[ModelName], Field(min_length=1, max_length=MAX_MODELS)]
Model: TypeAlias = Chain | Models | None
_MAX_TOOLS: Final = 128
_NAMES_OF_TOOLS: Final[dict[str, Any]] = {
    "type": "array",
    "maxItems": definitions.MAX_ALLOWED,
    "items": {"type": "string", "minLength": 1, "maxLength": definitions.MAX_TOOL_NAME},
}
_SERVER_OF_TOOLS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "type": {"const": "mcp"},
        "server_label": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,32}$"},
        "server_url": {"type": "string", "maxLength": definitions.MAX_URL},
        "allowed_tools": {"anyOf": [_NAMES_OF_TOOLS, {"type": "null"}]},
        "require_approval": {"enum": ["always", "never"], "default": "always"},
    },
    "required": ["type", "server_label", "server_url"],
    "additionalProperties": False,
}
ServerOfTools: TypeAlias = Annotated[dict[str, object], WithJsonSchema(_SERVER_OF_TOOLS)]
"""A server of tools, as OpenAI's APIs take it; :func:`definitions.decode_tool` checks it."""
Tools = Annotated[list[Ident | ServerOfTools], Field(max_length=_MAX_TOOLS)]
_MAX_CONTEXTS: Final = 16
_CONTEXT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"type": {"type": "string", "examples": ["knowledge"]}},
    "required": ["type"],
    "additionalProperties": True,
}
Context: TypeAlias = Annotated[dict[str, object], WithJsonSchema(_CONTEXT)]
"""A context provider and its options; :func:`definitions.decode_context` checks it."""
Contexts = Annotated[list[Context], Field(max_length=_MAX_CONTEXTS)]


class CreateAgent(Body):
    """An agent to be made."""

    model_config = shown_as(
        {
            "name": "chef",
            "context": "You are a chef from the Mediterranean coast who cooks with what is in season.",
            "first_message": "Welcome to my kitchen! For how many shall we cook?",
            "response_shape": "",
            "instructions": "Propose one dish at a time. Mind allergies. Answer in at most three sentences.",
        }
    )

    context: str = Field(description="Who the agent is and what it is for.")
    first_message: str = Field(description="What it opens every conversation with; empty for nothing.")
    response_shape: str | dict[str, object] = Field(
        description="The form of its answers: a JSON Schema, or an object of keys and what they mean, "
        "as an object or as text; empty for plain text."
    )
    instructions: str = Field(description="What it has to heed in every answer.")
    name: str = Field(
        default="", max_length=definitions.MAX_NAME, description="Unique; one is made up if it is empty."
    )
    model: Model = Field(
        default=None,
        description="`provider:model`, or several (a list, or with commas between them), each of which "
        "stands in for the one before it; default: the server's.",
    )
    settings: Settings | None = Field(default=None, description="How the model is asked.")
    tools: Tools = Field(
        default=[],
        description="What it can use: names of this installation's tools, `mcp:LABEL` for all tools of one "
        "of its servers, or a server elsewhere that speaks MCP.",
    )
    context_providers: Contexts = Field(
        default=[],
        description="What it is told from beyond the conversation: each the `type` of a context provider, "
        'and its options beside it, like `{"type": "knowledge", "collection": "handbook"}`.',
    )
    limits: Limits | None = Field(default=None, description="What answering one message may use up.")


class CreateConversation(Body):
    """A conversation to be made."""

    model_config = shown_as({"agent_id": "chef", "id": "dinner"})

    agent_id: Ident
    id: Ident | None = Field(
        default=None,
        description="An id of your own. The same one again names the same conversation.",
    )
    user: User | None = Field(default=None, description=WHOSE)


class Chat(Options):
    """A message for an agent, in a conversation that is there or in a new one."""

    model_config = shown_as(
        {
            "conversation_id": "dinner",
            "message": "There are five of us, and one is allergic to peanuts.",
        },
        oneOf=[{"required": ["conversation_id"]}, {"required": ["agent_id"]}],
    )

    message: str = Field(min_length=1)
    conversation_id: Ident | None = None
    agent_id: Ident | None = Field(
        default=None, description="Instead of a conversation: begin a new one with this agent."
    )
    user: User | None = Field(default=None, description=f"Only with `agent_id`. {WHOSE}")


class Summarize(Body):
    """A conversation to be summarized."""

    model_config = shown_as({"conversation_id": "dinner"})

    conversation_id: Ident


class Conversation(BaseModel):
    """A conversation."""

    id: str
    agent_id: str
    timestamp: datetime


class Described(BaseModel):
    """What an agent's author chose."""

    name: str
    context: str
    first_message: str
    response_shape: str
    instructions: str
    model: str | list[str] | None
    settings: Settings
    tools: list[str | ServerOfTools]
    context_providers: list[Context]
    limits: Limits
    program: str | None = Field(
        description="The program that it is a part of and that alone can change it; null if there is none."
    )


class Agent(Described):
    """An agent with its conversations: the 100 newest, oldest first."""

    id: str
    timestamp: datetime
    conversations: list[Conversation]


class Exchange(BaseModel):
    """A message and its answer, which is null as long as there is none."""

    id: str
    conversation_id: str
    user_message: str
    agent_message: str | None
    timestamp: datetime


class Closed(BaseModel):
    """Why a conversation has come to its end, and what its user is to be shown."""

    reason: str
    notice: str


class Answer(BaseModel):
    """What the agent said; with a response shape, a JSON object as text."""

    conversation_id: str
    response: str
    closed: Closed | None = Field(description="Set when the conversation has come to its end with this.")


class Summary(BaseModel):
    """What a conversation comes to, and the keys of its agent's response shape."""

    model_config = ConfigDict(extra="allow")

    conversation_id: str
    summary: str


class Greeting(BaseModel):
    """Says what answers here."""

    message: str


class Ready(Greeting):
    """Says that requests can be answered."""

    store: str
