"""What a reducer is, told so that another process knows whether it has the same."""

import hashlib
from collections.abc import Mapping
from typing import Final, Protocol, runtime_checkable
from uuid import uuid4

import orjson

from tertulia.memory.reducers.base import Reducer

_PLAIN: Final = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS
"""Of values that are more than JSON, a part would be told as if it were all."""


@runtime_checkable
class SupportsDescribing(Protocol):
    """A reducer that can tell what decides what it does."""

    def describe(self) -> Mapping[str, object]:
        """Return JSON values that are the same for reducers that do the same, in every process."""
        ...


def description(reducer: Reducer) -> Mapping[str, object]:
    """Return what decides what a reducer does, as JSON values.

    Of one that cannot tell, that is the name of its class and what its attributes are. If those are not
    all JSON values, or the class was made within a function, nothing tells it from others: then it is
    described as one that there is nowhere else, and at no other time.
    """
    if isinstance(reducer, SupportsDescribing):
        return reducer.describe()
    kind = f"{type(reducer).__module__}.{type(reducer).__qualname__}"
    try:
        given = object.__getstate__(reducer)
        orjson.dumps(given, option=_PLAIN)
    except (TypeError, ValueError):
        return _alone(kind)
    return _alone(kind) if "<locals>" in kind else {"reducer": kind, "given": given}


def identity(reducer: Reducer) -> str:
    """Return a short text that is the same for reducers that do the same, in every process.

    Of a reducer that cannot be described it is another one each time.
    """
    told = orjson.dumps(description(reducer), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(told).hexdigest()[:32]


def _alone(kind: str) -> Mapping[str, object]:
    return {"reducer": kind, "alone": uuid4().hex}
