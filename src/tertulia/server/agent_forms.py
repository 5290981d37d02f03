"""What the routes of agents under ``/v1`` take and give, field by field."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import override

from tertulia.definitions import MAX_NAME
from tertulia.server.bodies import Body, shown_as
from tertulia.server.options import Limits, Settings
from tertulia.server.tutorial_forms import Contexts, Described, Model, Tools


class ChangeAgent(Body):
    """What is to be another of an agent; what is left out stays as it is."""

    model_config = shown_as({"model": "openai:gpt-5-mini", "instructions": "Answer in one sentence."})

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)] = Field(default_factory=str)
    context: str = Field(default_factory=str)
    first_message: str = Field(
        default_factory=str, description="For conversations in which nothing has been said yet."
    )
    response_shape: str | dict[str, object] = Field(default_factory=str)
    instructions: str = Field(default_factory=str)
    model: Model = Field(default_factory=lambda: None, description="null for the server's own default.")
    settings: Settings = Field(default_factory=dict, description="All of them: what is not here is unset.")
    tools: Tools = Field(default_factory=list, description="All of them.")
    context_providers: Contexts = Field(default_factory=list, description="All of them.")
    limits: Limits = Field(default_factory=dict, description="All of them: what is not here is unset.")

    @override
    def understood(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_unset=True)


class StoredAgent(Described):
    """An agent at its newest version."""

    object: str
    id: str
    version: int = Field(description="Counts from 1, one more for every change.")
    created_at: datetime
