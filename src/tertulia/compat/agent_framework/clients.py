"""Chat clients: which model an agent asks."""

import os
from typing import ClassVar, TypeAlias

from tertulia.errors import InvalidInput
from tertulia.llms import LLM, LLMOptions
from tertulia.llms.models import Models
from tertulia.settings import load_settings


class ChatClient:
    """A model of one provider; without a name, the one of the environment."""

    provider: ClassVar[str]
    variable: ClassVar[str]
    """Of the environment, that may name the model."""

    def __init__(
        self, model_id: str | LLM | None = None, *, api_key: str | None = None, base_url: str | None = None
    ) -> None:
        """Ask the model of this name, or this model itself (from :mod:`tertulia.llms`, or your own).

        Key and address are those of the environment if they are not given. Raises
        :class:`~tertulia.errors.InvalidInput` for what cannot go together.
        """
        model_id = model_id or os.environ.get(self.variable)
        is_bare = model_id is None or not isinstance(model_id, str)
        if is_bare and (api_key is not None or base_url is not None):
            raise InvalidInput(f"say which model has this api_key or base_url: model_id, or {self.variable}")
        self._models = Models(
            load_settings().default_model, options=LLMOptions(api_key=api_key, base_url=base_url)
        )
        name = f"{self.provider}:{model_id}" if isinstance(model_id, str) else None
        self.llm: LLM = (
            self._models.get(name) if name or model_id is None else model_id  # type: ignore[assignment]
        )

    async def close(self) -> None:
        """Let go of connections; a model that was given itself stays open."""
        await self._models.close()


Client: TypeAlias = ChatClient | LLM | str
"""A chat client, a model, or the name of one: ``provider:model``."""
