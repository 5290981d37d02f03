"""History that a model's own service keeps; our log stays beside it, whole."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from tertulia.errors import InvalidInput
from tertulia.memory.views.log import Log

Kept: TypeAlias = Literal["answers", "conversation"]
SERVICE: Final = "service"
"""The owner of a history that the model's service keeps."""


class ServiceHistoryProvider:
    """Has the service of an agent's model keep the history, so that only what is new is sent.

    With ``keeps="answers"`` each answer follows the one before it (``previous_response_id`` of OpenAI's
    Responses API), with ``"conversation"`` all stand in a conversation there. What is said is kept in
    our own log as well: if the service has lost an id, everything is sent once more, and what was
    withdrawn or changed here begins a new chain there. The service shapes its view itself, so reducers
    and other histories that are read have no place beside it.
    """

    def __init__(self, *, keeps: Kept = "answers") -> None:
        if keeps not in {"answers", "conversation"}:
            raise InvalidInput("keeps must be 'answers' or 'conversation'")
        self.keeps: Kept = keeps


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedHistory:
    """How a model's service keeps the history of an agent's conversations."""

    keeps: Kept
    log: Log
