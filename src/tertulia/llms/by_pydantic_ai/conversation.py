"""A conversation of ours as pydantic-ai takes it: nothing lost, nothing said twice, no order changed.

What providers want of a conversation is given to all of them alike: a user speaks first and last,
nobody speaks twice in a row, nobody says nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    SystemPromptPart,
    TextPart,
    ToolReturnPart,
    UserPromptPart,
)

from tertulia.errors import ModelRefused
from tertulia.llms.base import Shown
from tertulia.llms.by_pydantic_ai.call_ids import CallIds
from tertulia.llms.by_pydantic_ai.dialect import Dialect
from tertulia.llms.by_pydantic_ai.media import Content, Withheld, content_of
from tertulia.llms.by_pydantic_ai.opaque import shown_call, shown_reasoning
from tertulia.llms.withheld import newly_sent
from tertulia.messages import clean_text
from tertulia.parts import Media, Part, Reasoning, Text, ToolCall, ToolResult

GREETING: Final = "Hi"
"""Said before an assistant that speaks first."""
GO_ON: Final = "Go on."
"""Said when the assistant spoke last, for many providers only answer a user."""
NOTHING: Final = "(nothing)"
"""Said for a user, or a tool, that said nothing."""


def messages_of(shown: Sequence[Shown], dialect: Dialect) -> list[ModelMessage]:
    """Return what a model is shown; raises :class:`ModelRefused` for newly sent media that it cannot be."""
    turns = _Turns(dialect)
    newest = newly_sent(shown)
    for each in shown:
        turns.add(each, is_new=each is newest)
    return turns.finished()


class _Turns:
    """The conversation so far, turn by turn."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._ids = CallIds(dialect.manners.call_id)
        self._messages: list[ModelMessage] = []
        self._asked: list[ModelRequestPart] = []
        self._answered: list[ModelResponsePart] = []
        self._has_begun = False

    def add(self, shown: Shown, *, is_new: bool) -> None:
        """Take in what was said next."""
        if shown.role == "assistant":
            self._answer(_answered(shown, self._dialect, self._ids))
        elif shown.role == "system":
            self._instruct(clean_text(shown.text))
        elif shown.role == "tool":
            self._ask(_results(shown, self._ids))
        else:
            self._ask((_asked(shown, self._dialect, is_new=is_new),))

    def finished(self) -> list[ModelMessage]:
        """Return the whole conversation, which a user ends."""
        if not self._has_begun:
            self._ask((UserPromptPart(GREETING),))
        if self._answered:
            self._ask((UserPromptPart(GO_ON),))
        self._messages.append(ModelRequest(parts=self._asked))
        return self._messages

    def _instruct(self, text: str) -> None:
        if not text.strip():
            return
        if not self._has_begun:
            self._asked.append(SystemPromptPart(text))
        else:
            # Few providers hear a system later on, and those that lift it to the front change the
            # beginning of a prompt that they have in their caches.
            self._ask((UserPromptPart(f"<system>\n{text}\n</system>"),))

    def _ask(self, parts: Iterable[ModelRequestPart]) -> None:
        if self._answered:
            self._messages.append(ModelResponse(parts=self._answered, provider_name=self._dialect.system))
            self._answered = []
        self._has_begun = True
        for part in parts:
            if self._dialect.manners.alternates and (joined := _joined(self._asked, part)):
                self._asked[-1] = joined
            else:
                self._asked.append(part)

    def _answer(self, parts: Sequence[ModelResponsePart]) -> None:
        if not parts:
            return
        if not self._has_begun:
            self._ask((UserPromptPart(GREETING),))
        if self._asked:
            self._messages.append(ModelRequest(parts=self._asked))
            self._asked = []
        self._answered.extend(parts)


def _asked(shown: Shown, dialect: Dialect, *, is_new: bool) -> UserPromptPart:
    """Return what a user said; the name stands in the text, as hardly any provider has a place for it."""
    if not shown.parts:
        return UserPromptPart(_named(shown, clean_text(shown.text)) if shown.text.strip() else NOTHING)
    content = [item for part in shown.parts if (item := _item(part, dialect, is_new=is_new))]
    if content and shown.name:
        first = content[0]
        content[:1] = [_named(shown, first)] if isinstance(first, str) else [_named(shown, ""), first]
    return UserPromptPart(content or NOTHING)


def _item(part: Part, dialect: Dialect, *, is_new: bool) -> Content | None:
    if isinstance(part, Text):
        return clean_text(part.text) if part.text.strip() else None
    if not isinstance(part, Media):
        return None
    item = content_of(part, dialect)
    if not isinstance(item, Withheld):
        return item
    if is_new:
        raise ModelRefused(item.why)
    return item.words


def _answered(shown: Shown, dialect: Dialect, ids: CallIds) -> list[ModelResponsePart]:
    """Return what the model said before, thoughts first and calls last, as all providers have it."""
    thoughts: list[ModelResponsePart] = []
    calls: list[ModelResponsePart] = []
    for part in shown.parts:
        if isinstance(part, ToolCall):
            calls.append(shown_call(part, call_id=ids.of_call(part.id), system=dialect.system))
        elif isinstance(part, Reasoning) and dialect.manners.is_shown_reasoning:
            thoughts += filter(None, [shown_reasoning(part, dialect.system)])
    texts: list[ModelResponsePart] = [TextPart(text) for text in _said(shown)]
    return [*thoughts, *texts, *calls]


def _said(shown: Shown) -> list[str]:
    """Return an assistant's texts, without those in which nothing can be seen."""
    texts = [part.text for part in shown.parts if isinstance(part, Text)] if shown.parts else [shown.text]
    words = [part for part in shown.parts if isinstance(part, Media)]
    said = [clean_text(text) for text in texts if text.strip()]
    said += [f"[{part.kind} {clean_text(part.name)}]" for part in words]
    return [_named(shown, said[0]), *said[1:]] if said and shown.name else said


def _results(shown: Shown, ids: CallIds) -> list[ModelRequestPart]:
    return [
        ToolReturnPart(
            tool_name=clean_text(part.name),
            content=clean_text(part.text) if part.text.strip() else NOTHING,
            tool_call_id=ids.of_result(part.call_id),
            outcome="failed" if part.is_error else "success",
        )
        for part in shown.parts
        if isinstance(part, ToolResult)
    ]


def _named(shown: Shown, text: str) -> str:
    if not shown.name:
        return text
    name = " ".join(clean_text(shown.name).split())
    return f"{name}: {text}"


def _joined(asked: Sequence[ModelRequestPart], part: ModelRequestPart) -> UserPromptPart | None:
    """Return the newest words of a user and those that follow as one message, if that is what they are."""
    last = asked[-1] if asked else None
    if not isinstance(last, UserPromptPart) or not isinstance(part, UserPromptPart):
        return None
    if isinstance(last.content, str) and isinstance(part.content, str):
        return UserPromptPart(f"{last.content}\n\n{part.content}")
    return UserPromptPart([*_items(last), *_items(part)])


def _items(part: UserPromptPart) -> list[str | Content]:
    return [part.content] if isinstance(part.content, str) else list(part.content)  # type: ignore[arg-type]
