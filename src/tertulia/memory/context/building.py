"""Context providers of stored agents: what they are built of, by the name that an agent's author chose."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from tertulia.memory.context.base import ContextProvider
from tertulia.stores.base import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What an installation has that context providers of stored agents may use."""

    store: Store
    tenant: int = 0
    databases: Mapping[str, ContextProvider] = field(default_factory=dict)
    """Databases that the installation lets agents read, by the name that it gave them."""


class BuildableContext(ContextProvider, Protocol):
    """A context provider that an agent's author can choose by its name."""

    @classmethod
    def build(cls, options: Mapping[str, Any], means: Means) -> Self:
        """Return the provider; raises :class:`~tertulia.errors.InvalidInput` for options that are wrong."""
        ...
