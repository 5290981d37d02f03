"""The port to reducers: what of a long conversation a model is shown."""

from typing import Protocol, runtime_checkable

from tertulia.messages import Message


@runtime_checkable
class Reducer(Protocol):
    """Makes a long list of messages shorter; what is stored stays as it is.

    Laws: ``reduce`` is given messages oldest first and returns those to be shown, in their order. It
    depends on nothing but them. A call of a tool and its result, which belong together by their id, go
    or stay together, wherever they stand. System messages stay, and the newest user message does, or
    else the newest message. What it returns begins with a user message where that is possible, apart
    from system messages and summaries. It is idempotent; and it may be applied whenever messages have
    come in, or seldom: ``reduce(reduce(a) + b)`` shows the same as ``reduce(a + b)``. If there is
    nothing to do it returns a list that is equal to what it was given.
    """

    async def reduce(self, messages: list[Message]) -> list[Message]:
        """Return what is to be shown of these messages."""
        ...


@runtime_checkable
class CostlyReducer(Reducer, Protocol):
    """A reducer that asks a model, so that its work is done in a step of the run.

    It adds what the model has cost to :func:`~tertulia.memory.reducers.spending.spend`.
    """

    def is_due(self, messages: list[Message]) -> bool:
        """Whether :meth:`reduce` would ask a model for these messages."""
        ...
