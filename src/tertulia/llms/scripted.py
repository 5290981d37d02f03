"""A language model that says what it was told to; for tests, examples and documentation."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Final, Self, TypeAlias

import orjson
from typing_extensions import override

from tertulia.conversations import Usage
from tertulia.errors import ModelRefused, UnknownModel
from tertulia.llms.base import Finished, LLMEvent, Prompt, Shown, TextDelta
from tertulia.llms.options import LLMOptions, LLMPlug
from tertulia.messages import clean_text

ScriptedReply: TypeAlias = str | Mapping[str, object] | Sequence[object] | Exception
Script: TypeAlias = Sequence[ScriptedReply] | Callable[[Prompt], ScriptedReply]

_CHARACTERS_PER_TOKEN: Final = 4
_TEXT: Final = "text="


class ScriptedLLM(LLMPlug):
    """Answers from a list, one entry a call, or from a function of the prompt.

    An entry is the text to say, a structured value (said as JSON), or an exception to raise.
    ``delay`` is how many seconds each piece of ``chunk`` characters takes; by default the answer
    comes at once and in one piece.
    """

    def __init__(
        self, replies: Script, *, delay: float = 0, chunk: int | None = None, name: str = "scripted"
    ) -> None:
        self._reply = replies if callable(replies) else _one_by_one(replies)
        self._delay, self._chunk, self._name = delay, chunk, name
        self.prompts: list[list[dict[str, str]]] = []
        """What it was shown, call by call: lists of ``{role, content}``, with ``name`` where there is one."""

    @override
    @classmethod
    def build(cls, model: str, options: LLMOptions) -> Self:
        if model == "echo":
            return cls(_echo, name="scripted:echo")
        if model.startswith(_TEXT):
            text = model.removeprefix(_TEXT)
            return cls(lambda _prompt: text, name=f"scripted:{model}")
        raise UnknownModel("there are two scripted models: scripted:echo and scripted:text=WHAT TO SAY")

    @property
    @override
    def name(self) -> str:
        return self._name

    @property
    @override
    def window(self) -> int | None:
        return None

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        self.prompts.append([_seen(shown) for shown in prompt.messages])
        text = _text(self._reply(prompt))
        for piece in _pieces(text, self._chunk):
            if self._delay:
                await asyncio.sleep(self._delay)
            yield TextDelta(piece)
        asked = sum(_tokens(shown.text) for shown in prompt.messages)
        usage = Usage(input_tokens=asked, output_tokens=_tokens(text), model_calls=1)
        yield Finished(text=text, model=self._name, usage=usage)

    @override
    async def close(self) -> None:
        pass


def _one_by_one(replies: Sequence[ScriptedReply]) -> Callable[[Prompt], ScriptedReply]:
    left = iter(list(replies))

    def reply(_prompt: Prompt) -> ScriptedReply:
        for entry in left:
            return entry
        raise ModelRefused(f"the script is at its end: it held {len(replies)} replies")

    return reply


def _echo(prompt: Prompt) -> str:
    return next((shown.text for shown in reversed(prompt.messages) if shown.role == "user"), "")


def _text(reply: ScriptedReply) -> str:
    if isinstance(reply, Exception):
        raise reply
    return clean_text(reply if isinstance(reply, str) else orjson.dumps(reply).decode())


def _pieces(text: str, size: int | None) -> list[str]:
    size = size or len(text) or 1
    return [text[start : start + size] for start in range(0, len(text), size)]


def _seen(shown: Shown) -> dict[str, str]:
    seen = {"role": shown.role, "content": shown.text}
    return seen | {"name": shown.name} if shown.name else seen


def _tokens(text: str) -> int:
    return -(-len(text) // _CHARACTERS_PER_TOKEN)
