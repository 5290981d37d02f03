"""What a reducer is, told so that another process knows whether it has the same."""

import hashlib
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import orjson

from tertulia.memory.reducers.base import Reducer


@runtime_checkable
class SupportsDescribing(Protocol):
    """A reducer that can tell what decides what it does."""

    def describe(self) -> Mapping[str, object]:
        """Return JSON values that are the same for reducers that do the same, in every process."""
        ...


def description(reducer: Reducer) -> Mapping[str, object]:
    """Return what decides what a reducer does, as JSON values.

    Of one that cannot tell, that is the name of its class and what its attributes are, if they all are
    JSON values; or the name alone.
    """
    if isinstance(reducer, SupportsDescribing):
        return reducer.describe()
    kind = f"{type(reducer).__module__}.{type(reducer).__qualname__}"
    given = dict(getattr(reducer, "__dict__", {}))
    try:
        orjson.dumps(given)
    except (TypeError, ValueError):
        return {"reducer": kind}
    return {"reducer": kind, "given": given}


def identity(reducer: Reducer) -> str:
    """Return a short text that is the same for reducers that do the same, in every process."""
    told = orjson.dumps(description(reducer), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(told).hexdigest()[:32]
