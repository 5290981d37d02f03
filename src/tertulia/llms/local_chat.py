"""The embedded model's server as it is asked: answers of a given shape always come to their end."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import orjson
from typing_extensions import override

from tertulia.errors import ModelMalformed, ModelRefused
from tertulia.llms.base import LLMEvent, Prompt
from tertulia.llms.bounded.fitting import guide
from tertulia.llms.local_server import MAX_TOKENS, WINDOW
from tertulia.llms.openai_chat import OpenAIChat
from tertulia.llms.wire.body import Dialect
from tertulia.llms.wire.sse import decode

_COUNTING: Final = "/chat/completions/input_tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Guided(Prompt):
    """A prompt whose answer is held to a grammar."""

    grammar: str


class LocalChat(OpenAIChat):
    """The embedded model behind its server.

    Where an answer is to have a shape, its length is bounded so that it is whole: ``max_tokens`` is
    taken as it is given, and otherwise as large as the shape needs. Tools are refused with
    :class:`~tertulia.errors.ModelRefused`: the model has never learnt to call them.
    """

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        if prompt.tools and prompt.may_call:
            raise ModelRefused(
                "the embedded model cannot use tools; choose another one, for example openai:gpt-5-mini"
            )
        if prompt.response_schema is not None:
            prompt = await self._guided(prompt)
        async with aclosing(super().stream(prompt)) as events:
            async for event in events:
                yield event

    @override
    def _body(self, prompt: Prompt, dialect: Dialect) -> bytes:
        body = super()._body(prompt, dialect)
        if not isinstance(prompt, _Guided):
            return body
        return body[:-1] + b',"grammar":' + orjson.dumps(prompt.grammar) + b"}"

    async def _guided(self, prompt: Prompt) -> Prompt:
        schema, plain = prompt.response_schema or {}, replace(prompt, response_schema=None)
        room = WINDOW - await self._count(plain)
        if room <= 0:
            # The server says so itself, in the words that it has for it.
            return plain
        found = guide(schema, wished=prompt.settings.max_tokens, usual=MAX_TOKENS, room=room)
        given: dict[str, Any] = {field.name: getattr(plain, field.name) for field in fields(Prompt)}
        given["settings"] = replace(prompt.settings, max_tokens=found.max_tokens)
        return _Guided(**given, grammar=found.grammar)

    async def _count(self, prompt: Prompt) -> int:
        """Return the tokens of a prompt; raises errors of the ``ModelError`` family."""
        reply = await self._connection.post(_COUNTING, self._body(prompt, self._dialect))
        if not reply.is_ok:
            raise await reply.failure()
        found = decode(await reply.read_some())
        counted = found.get("input_tokens") if isinstance(found, dict) else None
        if not isinstance(counted, int):
            raise ModelMalformed("the embedded model's server did not count the prompt's tokens")
        return counted
