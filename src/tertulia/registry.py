"""Plugs by name, imported when they are first asked for."""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class Registry(Generic[T]):
    """A room's list of plugs: ``name -> "module:attribute"``.

    Nothing is imported before it is asked for, so that the package starts quickly and an
    uninstalled extra hurts only those who use it.

    A room with an entry point ``group`` also has the plugs that other distributions register there;
    they are looked for when a name is none of ours, and cannot take one of our names.
    """

    def __init__(self, room: str, plugs: Mapping[str, str], *, group: str | None = None) -> None:
        self._room, self._plugs, self._group = room, dict(plugs), group

    def __iter__(self) -> Iterator[str]:
        """Go through our own names."""
        return iter(self._plugs)

    def __contains__(self, name: object) -> bool:
        return name in self._plugs or name in self._foreign()

    def get(self, name: str) -> type[T]:
        """Import and return the plug of this name; ``KeyError`` if the room has none."""
        target = self._plugs.get(name) or self._foreign().get(name)
        if target is None:
            known = ", ".join(sorted({*self._plugs, *self._foreign()}))
            raise KeyError(f"no {name!r} among the {self._room}; there are: {known}")
        return cast("type[T]", load(target))

    def _foreign(self) -> dict[str, str]:
        """Return what other distributions have registered; of two with one name the first found."""
        if self._group is None:
            return {}
        found = load("importlib.metadata:entry_points")(group=self._group)
        return {point.name: f"{point.module}:{point.attr}" for point in reversed(tuple(found))}


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
