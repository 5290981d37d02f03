"""What a language model is opened with, and how its plug is built from its name."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self, TypeAlias, runtime_checkable

from typing_extensions import override

from tertulia.llms.base import LLM
from tertulia.llms.prices import Prices

Notify: TypeAlias = Callable[[str], None]


def keep_quiet(_line: str) -> None:
    """Notify nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LLMOptions:
    """Everything about a model that is not its name; what is ``None`` the plug finds for itself."""

    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    runtime_dir: Path | None = None
    """Where the embedded model's processes find each other."""
    notify: Notify = keep_quiet
    """Told in a line of text when something takes a while."""
    connect_seconds: float = 10.0
    first_token_seconds: float | None = None
    """The longest wait for the first word of one attempt; ``None`` leaves it to the whole."""
    whole_seconds: float = 120.0
    """The longest that a call may take, with all attempts and waits between them."""
    attempts: int = 3
    prices: Prices = field(default_factory=Prices)

    def key(self, variable: str) -> str | None:
        """Return the API key: as given, else from the provider's own environment variable."""
        return self.api_key or os.environ.get(variable) or None

    def url(self, variable: str, public: str) -> str:
        """Return the base URL: as given, else from the environment, else the public one."""
        return (self.base_url or os.environ.get(variable) or public).rstrip("/")


@dataclass(frozen=True, slots=True)
class ModelName:
    """A model's name, taken apart: ``provider:model``."""

    provider: str
    model: str
    """Empty where the provider has only one."""

    @override
    def __str__(self) -> str:
        return f"{self.provider}:{self.model}" if self.model else self.provider


class LLMPlug(LLM, Protocol):
    """A language model that can be built from its name."""

    @classmethod
    def build(cls, name: ModelName, options: LLMOptions) -> Self:
        """Return the model, not yet connected to anything.

        Raises :class:`~tertulia.errors.UnknownModel` when it cannot be a model of this provider;
        what can be put right without changing the name is only raised when the model is asked.
        """
        ...

    @classmethod
    async def list_models(cls, provider: str, options: LLMOptions) -> list[str]:
        """Return the provider's own names of the models that can be asked for, sorted.

        Raises what asking a model raises; empty where a provider does not tell.
        """
        return []


@runtime_checkable
class SupportsTrying(Protocol):
    """A model that can find out whether it could be asked, without asking anybody."""

    async def try_open(self) -> None:
        """Raise what asking would for want of a package, a key or an address; nothing is sent."""
        ...
