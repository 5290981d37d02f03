"""What an agent of a program is made of, checked and never changed."""

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final, Protocol, runtime_checkable

import orjson

from tertulia.agent.histories import Histories
from tertulia.agent.typed_shapes import TypedShape
from tertulia.agent_settings import RunLimits
from tertulia.definitions import AgentDefinition, ToolChoice
from tertulia.errors import InvalidInput
from tertulia.llms.base import LLM
from tertulia.llms.models import Models
from tertulia.memory.context.asking import source_of
from tertulia.memory.context.base import ContextProvider
from tertulia.tools.toolbox import Toolbox


@runtime_checkable
class SupportsClosing(Protocol):
    """Lets go of what it has opened; those who opened nothing need not be able to."""

    async def close(self) -> None:
        """Let go of it; may be called twice."""
        ...


LEAST_TOKENS: Final = 256
"""What a model is shown at least, if there is as much."""
PROGRAM: Final = "program:"
"""What the name of a performer begins with that is part of a program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentParts:
    """What an agent of a program is made of."""

    definition: AgentDefinition
    shape: TypedShape
    """The response shape, as it was given."""
    is_named: bool
    """Whether its author gave it a name."""
    llm: LLM | None
    """The model itself, if it was given; otherwise the definition says which."""
    models: Models
    toolbox: Toolbox
    choices: tuple[ToolChoice, ...]
    context_providers: tuple[ContextProvider, ...]
    histories: Histories
    limits: RunLimits
    context_tokens: int

    @property
    def model(self) -> LLM:
        """The model that answers; raises :class:`~tertulia.errors.UnknownModel`."""
        return self.llm or self.models.get(self.definition.model)

    @property
    def stored(self) -> AgentDefinition:
        """What of the agent is stored, so that servers know it: they need its program for the rest."""
        is_whole = not (self.llm or self.choices or self.context_providers)
        histories = self.histories
        is_plain = not (histories.read or histories.told or histories.reducers or histories.service)
        return replace(self.definition, program="" if is_whole and is_plain else self.performer)

    @property
    def model_name(self) -> str:
        """What its model was called when it was made."""
        name = self.definition.model
        return ", ".join(name) if isinstance(name, tuple) else name or "the default"

    @property
    def performer(self) -> str:
        """The name under which a program carries out this agent's runs."""
        return f"{PROGRAM}{self.definition.name}"

    def named(self) -> "AgentParts":
        """Return the same agent under a name of its own, so that no other unnamed one is taken for it."""
        name = f"{self.definition.name}-{self.digest[:8]}"
        return replace(self, definition=replace(self.definition, name=name))

    def aside(self) -> "AgentParts":
        """Return the same agent for runs of which nothing is kept."""
        return replace(self, histories=Histories(reducers=self.histories.reducers))

    def checked(self) -> "AgentParts":
        """Return this, or raise :class:`InvalidInput` if its parts do not go together."""
        definition, least = self.definition, LEAST_TOKENS
        texts = (definition.instructions, definition.context, definition.first_message)
        if not all(isinstance(text, str) for text in texts):
            raise InvalidInput("instructions, context and first_message are texts")
        if not isinstance(self.context_tokens, int) or self.context_tokens < least:
            raise InvalidInput(f"context_tokens is a whole number, {least} at least")
        if self.histories.service is not None and definition.settings.store is False:
            raise InvalidInput(
                "settings say that the service is not to keep answers (store), and the history that it is "
                "to keep them: leave out one of both"
            )
        if self.histories.service is not None and not self.model.keeps_answers:
            raise InvalidInput(
                f"the service of the model {self.model_name} keeps no answers; use openai:… with a "
                "ServiceHistoryProvider, or another history"
            )
        return self

    @property
    def digest(self) -> str:
        """Digest of what shapes the agent's answers, its model and limits left out."""
        definition = self.definition
        told = [
            definition.context,
            definition.instructions,
            definition.first_message,
            definition.response_shape,
            [str(choice) for choice in self.choices],
            [source_of(provider) for provider in self.context_providers],
        ]
        return sha256(orjson.dumps(told)).hexdigest()[:32]
