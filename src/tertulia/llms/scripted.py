"""A language model that says what it was told to; for tests, examples and documentation."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Self, TypeAlias

import orjson
from typing_extensions import override

from tertulia.errors import ModelRefused, UnknownModel
from tertulia.llms.aside import with_aside
from tertulia.llms.base import Begun, Finished, LLMEvent, Prompt, ReasoningDelta, TextDelta
from tertulia.llms.leaning import check_stands_alone
from tertulia.llms.options import LLMOptions, LLMPlug, ModelName
from tertulia.llms.scripted_shelf import Seen, Shelf, said, seen
from tertulia.messages import clean_text
from tertulia.parts import ToolCall
from tertulia.usage import Usage

ScriptedReply: TypeAlias = (
    str | ToolCall | Sequence[ToolCall] | Finished | Mapping[str, object] | Sequence[object] | Exception
)
Script: TypeAlias = Sequence[ScriptedReply] | Callable[[Prompt], ScriptedReply]

_CHARACTERS_PER_TOKEN: Final = 4
_TEXT: Final = "text="


class ScriptedLLM(LLMPlug):
    """Answers from a list, one entry a call, or from a function of the prompt.

    An entry is the text to say, a call of a tool or a list of calls, a structured value (said as
    JSON), an exception to raise, or, to decide on everything, the
    :class:`~tertulia.llms.base.Finished` to end with: its reasoning is told before its text, what it
    costs is estimated if it does not say, and where background work is asked for, it is begun under
    its ``external_id``. It says what its script says, so that it calls tools even where the prompt
    forbids it. ``delay`` is how many seconds each piece of ``chunk`` characters takes; by
    default the answer comes at once and in one piece.

    With ``keeps_answers`` it is as a provider that keeps them, here for as long as it lives: answers
    are ``answer_1`` and so on where the prompt's settings have them stored, or the prompt goes on from
    one before, and conversations ``conversation_1``. :meth:`forget` has one be gone.
    """

    def __init__(
        self,
        replies: Script,
        *,
        delay: float = 0,
        chunk: int | None = None,
        name: str = "scripted",
        keeps_answers: bool = False,
    ) -> None:
        self._reply = replies if callable(replies) else _one_by_one(replies)
        self._delay, self._chunk, self._name = delay, chunk, name
        self._shelf = Shelf() if keeps_answers else None
        self.prompts: list[list[Seen]] = []
        """What it was shown, call by call: lists of ``{role, content}``, with ``name``, ``tool_calls``
        (lists of ``{id, name, arguments}``) and ``tool_call_id`` where there are any. An aside comes
        first, as a system's message."""
        self.asked: list[Prompt] = []
        """What it was asked with, call by call, whole."""
        self.abandoned: list[str] = []
        """The ids under which it was told to stop."""

    @override
    @classmethod
    def build(cls, name: ModelName, options: LLMOptions) -> Self:
        model = name.model
        if model == "echo":
            return cls(_echo, name="scripted:echo")
        if model.startswith(_TEXT):
            text = model.removeprefix(_TEXT)
            return cls(lambda _prompt: text, name=f"scripted:{model}")
        raise UnknownModel("there are two scripted models: scripted:echo and scripted:text=WHAT TO SAY")

    @override
    @classmethod
    async def list_models(cls, provider: str, options: LLMOptions) -> list[str]:
        return ["echo"]

    @property
    @override
    def name(self) -> str:
        return self._name

    @property
    @override
    def window(self) -> int | None:
        return None

    @property
    @override
    def keeps_answers(self) -> bool:
        return self._shelf is not None

    @property
    def kept(self) -> Mapping[str, Sequence[Seen]]:
        """What it keeps, by the ids of answers and conversations: all that was said there, answers too,
        in the form of ``prompts``, but without asides."""
        return {} if self._shelf is None else self._shelf.kept

    def forget(self, external_id: str | None = None) -> None:
        """Let an answer or a conversation be gone, as if it had expired, or all of them."""
        if self._shelf is not None:
            self._shelf.forget(external_id)

    @override
    async def begin_conversation(self) -> str:
        if self._shelf is None:
            return await super().begin_conversation()
        return self._shelf.begin()

    @override
    async def forget_conversation(self, external_id: str) -> None:
        self.forget(external_id)

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        new = [seen(shown) for shown in prompt.messages]
        told = [seen(shown) for shown in with_aside(prompt).messages]
        self.prompts.append(told)
        self.asked.append(prompt)
        before = self._before(prompt)
        asked = sum(_tokens(each["content"]) for each in (*before, *told))
        whole = self._named(self._whole(self._reply(prompt), asked=asked), prompt)
        if whole.external_id and prompt.settings.background:
            yield Begun(whole.external_id)
        for thought in whole.reasoning:
            if thought.text:
                yield ReasoningDelta(thought.text)
        for piece in _pieces(whole.text, self._chunk):
            if self._delay:
                await asyncio.sleep(self._delay)
            yield TextDelta(piece)
        if self._shelf is not None and whole.external_id:
            self._shelf.keep(whole.external_id, before, [*new, said(whole)], within=prompt.within)
        yield whole

    @override
    async def abandon(self, external_id: str) -> None:
        self.abandoned.append(external_id)

    @override
    async def close(self) -> None:
        pass

    def _before(self, prompt: Prompt) -> list[Seen]:
        """Return what is kept of what was said before; raises ``AnswerGone`` if that is nothing."""
        if self._shelf is not None:
            return self._shelf.before(prompt)
        check_stands_alone(prompt)
        return []

    def _named(self, whole: Finished, prompt: Prompt) -> Finished:
        """Return an answer under the id that it is kept under, if it is to be kept."""
        wants = prompt.settings.store or prompt.settings.background or prompt.leans_on is not None
        if self._shelf is None or not wants or whole.external_id:
            return whole
        return replace(whole, external_id=self._shelf.new_answer())

    def _whole(self, reply: ScriptedReply, *, asked: int) -> Finished:
        """Return the answer that an entry stands for; raises the entry if it is an exception."""
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, Finished):
            whole = replace(reply, text=clean_text(reply.text))
        elif calls := _calls(reply):
            whole = Finished(text="", model=self._name, calls=calls, finish_reason="tool_calls")
        else:
            told = reply if isinstance(reply, str) else orjson.dumps(reply).decode()
            whole = Finished(text=clean_text(told), model=self._name)
        if whole.usage != Usage():
            return whole
        told = whole.text + "".join(call.name + call.arguments for call in whole.calls)
        return replace(whole, usage=Usage(input_tokens=asked, output_tokens=_tokens(told), model_calls=1))


def _one_by_one(replies: Sequence[ScriptedReply]) -> Callable[[Prompt], ScriptedReply]:
    left = iter(list(replies))

    def reply(_prompt: Prompt) -> ScriptedReply:
        for entry in left:
            return entry
        raise ModelRefused(f"the script is at its end: it held {len(replies)} replies")

    return reply


def _echo(prompt: Prompt) -> str:
    return next((shown.text for shown in reversed(prompt.messages) if shown.role == "user"), "")


def _calls(reply: object) -> tuple[ToolCall, ...]:
    if isinstance(reply, ToolCall):
        return (reply,)
    if isinstance(reply, str | Mapping) or not isinstance(reply, Sequence):
        return ()
    calls = tuple(each for each in reply if isinstance(each, ToolCall))
    return calls if len(calls) == len(reply) else ()


def _pieces(text: str, size: int | None) -> list[str]:
    size = size or len(text) or 1
    return [text[start : start + size] for start in range(0, len(text), size)]


def _tokens(text: str) -> int:
    return -(-len(text) // _CHARACTERS_PER_TOKEN)
