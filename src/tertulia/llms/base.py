"""The port to language models: one prompt in, a stream of what it says out."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from typing_extensions import Buffer

from tertulia.conversations import Usage
from tertulia.definitions import ModelSettings
from tertulia.messages import Role

FinishReason: TypeAlias = Literal["stop", "length", "content_filter", "tool_calls", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One message as a model is shown it.

    ``wire`` is a plug's own note of the encoded form, by wire name, so that a message is encoded
    once however often it is sent; whoever writes there must always write the same bytes.
    """

    role: Role
    text: str
    name: str | None = None
    wire: dict[str, bytes] = field(default_factory=dict, compare=False, repr=False)


Encode: TypeAlias = Callable[[Shown], bytes]
"""Gives a message in a plug's wire form, which is the same every time."""


class Joinable(Sequence[Shown]):
    """Messages that need not be walked over to be encoded, because most of them were joined before."""

    @abstractmethod
    def pieces(self, wire: str, encode: Encode) -> list[Buffer]:
        """Return the messages' encoded form in pieces that lack nothing but commas between them.

        The pieces are to be joined at once, before anything is awaited.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Everything a model is asked with; never changed once made."""

    messages: Sequence[Shown]
    settings: ModelSettings = field(default_factory=ModelSettings)
    response_schema: Mapping[str, Any] | None = None
    """JSON Schema that the answer must meet; a plug passes it on where its provider can enforce it."""
    wants_deltas: bool = True
    """Whether anybody reads along; if not, a plug may ask for the answer in one piece, which is cheaper."""
    key: str = ""
    """Distinguishes this call from all others; equal when the same call is made again."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The last event of every stream: the whole answer."""

    text: str
    model: str
    """The model that answered, as its provider names it."""
    usage: Usage = field(default_factory=Usage)
    finish_reason: FinishReason = "stop"


LLMEvent: TypeAlias = TextDelta | Finished


class LLM(Protocol):
    """A language model that can be asked.

    Laws: ``stream`` yields any number of :class:`TextDelta` and then exactly one
    :class:`Finished`, whose text is that of the deltas together; NUL and lone surrogates come out
    as U+FFFD. It raises only errors of the :class:`~tertulia.errors.ModelError` family (and
    ``MissingExtra``), never a library's own. Closing the iterator early ends the call. It may be
    called by many tasks at once.
    """

    @property
    def name(self) -> str:
        """The name it was asked for under, ``provider:model``."""
        ...

    @property
    def window(self) -> int | None:
        """Tokens that a prompt and its answer may have together; ``None`` if unknown."""
        ...

    def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        """Ask, and yield the answer as it comes."""
        ...

    async def close(self) -> None:
        """Let go of connections; may be called twice."""
        ...
