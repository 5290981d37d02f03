"""The port to language models: one prompt in, a stream of what it says out."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from typing_extensions import Buffer

from tertulia.agent_settings import ModelSettings
from tertulia.definitions import ToolSpec
from tertulia.errors import ModelRefused
from tertulia.messages import Role
from tertulia.parts import Part, Reasoning, ToolCall
from tertulia.usage import Usage

FinishReason: TypeAlias = Literal["stop", "length", "content_filter", "tool_calls", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One message as a model is shown it.

    ``parts`` is its whole content where that is more than ``text``, else empty: calls of tools and
    :class:`~tertulia.parts.Reasoning` in an assistant's message, media in a user's, and exactly one
    :class:`~tertulia.parts.ToolResult` in one whose role is ``tool``. Every call is followed by its
    result before anything else is said.

    ``wire`` is a plug's own note of the encoded form, by wire name, so that a message is encoded
    once however often it is sent; whoever writes there must always write the same bytes.
    """

    role: Role
    text: str
    name: str | None = None
    parts: tuple[Part, ...] = ()
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
    aside: str = ""
    """System text for this answer only: it comes before the messages, and no provider keeps it with them."""
    settings: ModelSettings = field(default_factory=ModelSettings)
    response_schema: Mapping[str, Any] | None = None
    """JSON Schema that the answer must meet; a plug passes it on where its provider can enforce it."""
    tools: tuple[ToolSpec, ...] = ()
    """What it may call instead of answering."""
    may_call: bool = True
    """Whether it may call them now; if not, they are only shown, because some providers refuse calls
    in the history of tools that they are not told of. It is asked of the provider where that can be
    asked, and is no promise: a model may call nevertheless."""
    wants_deltas: bool = True
    """Whether anybody reads along; if not, a plug may ask for the answer in one piece, which is cheaper."""
    resumes: str | None = None
    """Id of this very call at its provider, as :class:`Begun` told it: it is taken up again if it is
    still there, and made anew if not."""
    follows: str | None = None
    """Id of an earlier answer that its provider keeps: ``messages`` hold only what came after that."""
    within: str | None = None
    """Id of a conversation that its provider keeps, and adds this to: ``messages`` hold only what is
    new in it. As it holds what was answered in it, ``follows`` says nothing beside it."""

    @property
    def leans_on(self) -> str | None:
        """Id of what its provider keeps that this goes on from; ``None`` if it shows everything.

        Where there is one, the answer is kept, too, whatever the settings say.
        """
        return self.follows if self.within is None else self.within


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of what the model thinks before it speaks, as far as its provider shows it."""

    text: str


@dataclass(frozen=True, slots=True)
class Begun:
    """The provider works on the answer by itself, and has it under this id even if we go away."""

    external_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The last event of every stream: the whole answer."""

    text: str
    model: str
    """The model that answered, as its provider names it."""
    usage: Usage = field(default_factory=Usage)
    finish_reason: FinishReason = "stop"
    calls: tuple[ToolCall, ...] = ()
    """Tools that it wants to use; ids are not empty, and differ within one answer."""
    reasoning: tuple[Reasoning, ...] = ()
    external_id: str | None = None
    """Under which its provider keeps the answer, if it does."""


LLMEvent: TypeAlias = TextDelta | ReasoningDelta | Begun | Finished


class LLM(Protocol):
    """A language model that can be asked.

    Laws: ``stream`` yields any number of :class:`TextDelta` and :class:`ReasoningDelta` and then
    exactly one :class:`Finished`, whose text is that of the text deltas together; NUL and lone
    surrogates come out as U+FFFD. :class:`Begun` comes before them, if at all, and again if another
    call had to be made. It raises only errors of the :class:`~tertulia.errors.ModelError` family
    (and ``MissingExtra``), never a library's own: :class:`~tertulia.errors.AnswerGone`, before the first
    word, if a prompt goes on from what its provider does not have. Closing the iterator early ends the
    call, unless it was told to be ``Begun``. It may be called by many tasks at once.
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

    @property
    def keeps_answers(self) -> bool:
        """Whether its provider can keep answers, so that a prompt may follow one or stand within a
        conversation there."""
        return False

    async def begin_conversation(self) -> str:
        """Have the provider begin a conversation that prompts can stand within; return its id there."""
        raise ModelRefused(f"{self.name} keeps no conversations")

    async def forget_conversation(self, external_id: str) -> None:
        """Have the provider delete a conversation; one that is gone already is no error."""
        return

    async def abandon(self, external_id: str) -> None:
        """Have the provider stop what it works on under this id; never raises, may be called twice."""
        return

    async def close(self) -> None:
        """Let go of connections; may be called twice."""
        ...
