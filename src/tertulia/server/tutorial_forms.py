"""What the tutorial's surface takes and gives, field by field."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from tertulia import definitions
from tertulia.runtime import MAX_NAME
from tertulia.server.bodies import Body, shown_as
from tertulia.server.options import Options, Settings


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it must be printable")
    return text


Ident = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
ModelName = Annotated[str, Field(max_length=200), AfterValidator(_printable)]


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
    model: ModelName | None = Field(default=None, description="`provider:model`; default: the server's.")
    settings: Settings | None = Field(default=None, description="How the model is asked.")


class CreateConversation(Body):
    """A conversation to be made."""

    model_config = shown_as({"agent_id": "chef", "id": "dinner"})

    agent_id: Ident
    id: Ident | None = Field(
        default=None,
        description="An id of your own. The same one again names the same conversation.",
    )


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


class Conversation(BaseModel):
    """A conversation."""

    id: str
    agent_id: str
    timestamp: datetime


class Agent(BaseModel):
    """An agent with its conversations: the 100 newest, oldest first."""

    id: str
    name: str
    context: str
    first_message: str
    response_shape: str
    instructions: str
    model: str | None
    settings: Settings
    timestamp: datetime
    conversations: list[Conversation]


class Exchange(BaseModel):
    """A message and its answer, which is null as long as there is none."""

    id: str
    conversation_id: str
    user_message: str
    agent_message: str | None
    timestamp: datetime


class Answer(BaseModel):
    """What the agent said; with a response shape, a JSON object as text."""

    conversation_id: str
    response: str


class Greeting(BaseModel):
    """Says what answers here."""

    message: str


class Ready(Greeting):
    """Says that requests can be answered."""

    store: str
