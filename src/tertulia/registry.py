"""Plugs by name, imported when they are first asked for."""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class Registry(Generic[T]):
    """A room's list of plugs: ``name -> "module:attribute"``.

    Nothing is imported before it is asked for, so that the package starts quickly and an
    uninstalled extra hurts only those who use it.
    """

    def __init__(self, room: str, plugs: Mapping[str, str]) -> None:
        self._room, self._plugs = room, dict(plugs)

    def __iter__(self) -> Iterator[str]:
        return iter(self._plugs)

    def __contains__(self, name: object) -> bool:
        return name in self._plugs

    def get(self, name: str) -> type[T]:
        """Import and return the plug of this name; ``KeyError`` if the room has none."""
        try:
            target = self._plugs[name]
        except KeyError:
            known = ", ".join(sorted(self._plugs))
            raise KeyError(f"no {name!r} among the {self._room}; there are: {known}") from None
        return cast("type[T]", load(target))


def lazily(module: str, exports: Mapping[str, str]) -> Callable[[str], object]:
    """Return a module's ``__getattr__`` (PEP 562): what it exports is imported when first asked for."""

    def get(name: str) -> object:
        if name not in exports:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return load(exports[name])

    return get


def load(target: str) -> Any:
    """Import ``module:attribute``."""
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)
