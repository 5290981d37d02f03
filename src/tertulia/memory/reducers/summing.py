"""The rule that puts a summary in the place of the oldest exchanges, and what such a summary is."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from typing_extensions import override

from tertulia import ids
from tertulia.memory.reducers.fold import NOWHERE, Fold, Rule
from tertulia.messages import Message
from tertulia.parts import Media, Text, text_content

SumUp: TypeAlias = Callable[[Sequence[Message]], Awaitable[str | None]]
"""Returns a summary of messages, the first of which may be summaries; ``None`` if there is none."""

HEADING: Final = "Summary of the earlier conversation:"
"""How a summary begins, so that a model does not take it for something that the user has just said."""

_HEX: Final = 32


class Summarize(Rule):
    """When there are more than ``high`` messages, one summary stands for all but the newest ``target``.

    While a list is gone through, a message without an id stands where the summary will be: nothing that
    is decided depends on what the summary says. So whatever piles up is summed up in one go.
    """

    asks = True

    def __init__(self, sum_up: SumUp, *, high: int, target: int) -> None:
        self._sum_up, self._high, self._target = sum_up, high, target
        self._sources: list[Message] = []
        self._place = NOWHERE

    @override
    def size(self, message: Message) -> int:
        return 0 if message.stands_for else 1

    @override
    def apply(self, fold: Fold, total: int) -> bool:
        if total <= self._high:
            return False
        leaving = fold.leaving(self, low=self._target)
        if not leaving:
            return False
        places = sorted(place for exchange in leaving for place in exchange.places)
        messages = [fold.message_at(place) for place in places]
        earlier = [place for place in fold.summaries if place == self._place or fold.message_at(place).id]
        if not earlier and not any(said(message) for message in messages):
            return False
        fold.drop(leaving)
        for place in earlier:
            self._add_earlier(fold.take_out_summary(place))
        self._sources += messages
        self._place = min([*earlier, *places])
        fold.put(self._place, _TO_COME)
        return True

    @property
    @override
    def is_due(self) -> bool:
        return bool(self._sources)

    @override
    async def settle(self, fold: Fold) -> bool:
        text = await self._sum_up(self._sources)
        if text is None:
            return False
        fold.put(self._place, summary_of(self._sources, text))
        return True

    def _add_earlier(self, summary: Message) -> None:
        if summary is not _TO_COME:
            self._sources.append(summary)


def summary_of(sources: Sequence[Message], text: str) -> Message:
    """Return the message that shows a summary of these messages, some of which may be summaries."""
    stands_for = tuple(ident for message in sources for ident in message.stands_for or (message.id,))
    named = hashlib.sha256("\n".join(stands_for).encode()).hexdigest()[:_HEX]
    return Message(
        id=f"{ids.MESSAGE}_{named}",
        role="user",
        content=text_content(f"{HEADING}\n{text}"),
        created_at=max(message.created_at for message in sources),
        stands_for=stands_for,
    )


def said(message: Message) -> str:
    """Return what somebody has said with a message, as it is summed up; of uses of tools nothing."""
    if message.role not in ("user", "assistant"):
        return ""
    texts = [_said(part) for part in message.content if isinstance(part, Text | Media)]
    return "\n".join(text for text in texts if text.strip())


def _said(part: Text | Media) -> str:
    if isinstance(part, Text):
        return part.text
    return f"[{part.kind}: {part.name}]" if part.name else f"[{part.kind}]"


_TO_COME: Final = Message(id="", role="user", content=(), stands_for=("",))
