"""What plugs of OpenAI's older wires have in common: one request, and an answer read as it comes."""

from abc import abstractmethod
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import ClassVar, Final

from typing_extensions import override

from tertulia.llms.base import LLMEvent, Prompt
from tertulia.llms.connection import Reply
from tertulia.llms.leaning import check_stands_alone
from tertulia.llms.openai_account import check_key, is_public, with_advice
from tertulia.llms.openai_model import OpenAIModel
from tertulia.llms.wire.answer import Answer
from tertulia.llms.wire.body import Dialect
from tertulia.llms.wire.failures import failure_of, is_about

_MAYBE_DIALECT: Final = (400, 422)
_OPENAI: Final = Dialect(limit_name="max_completion_tokens", is_openai=True)
_OTHERS: Final = Dialect()


class OpenAIPlug(OpenAIModel):
    """A model behind one path of a server that speaks as OpenAI's does.

    It is asked to stream where somebody reads along. Nothing is retried here. An answer that the
    server keeps cannot be followed on these wires, so that a prompt that does is refused with
    :class:`~tertulia.errors.AnswerGone`; background work is not to be had.
    """

    path: ClassVar[str]
    """Where it is asked, behind the base URL."""

    _learned: Dialect | None = None
    """The dialect that the server was found to speak."""

    @property
    def _dialect(self) -> Dialect:
        return self._learned or (_OPENAI if is_public(self._url) else _OTHERS)

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        answer = self._answer(prompt)
        reply = await self._ask(prompt)
        try:
            while chunk := await reply.read():
                for told in answer.feed(chunk):
                    yield told
                if answer.is_done:
                    await reply.hear_out()
                    break
        finally:
            reply.release()
        for told in answer.end():
            yield told
        yield answer.finished()

    @abstractmethod
    def _body(self, prompt: Prompt, dialect: Dialect) -> bytes:
        """Return the request's body; raises ``ModelRefused`` for what the wire cannot carry."""

    @abstractmethod
    def _answer(self, prompt: Prompt) -> Answer:
        """Return an answer that nothing was heard of yet."""

    async def _ask(self, prompt: Prompt, found: Dialect | None = None) -> Reply:
        """Return what is answered; ``found`` is a dialect that a server may have shown to speak."""
        check_key(self._url, self._key)
        check_stands_alone(prompt)
        dialect = found or self._dialect
        reply = await self._connection.post(self.path, self._body(prompt, dialect))
        if reply.is_ok:
            # What it does not know counts for others only once asking without it has helped.
            self._learned = dialect
            return reply
        body = await reply.read_some()
        if dialect.counts_usage and reply.status in _MAYBE_DIALECT and is_about("stream_options", body):
            return await self._ask(prompt, replace(dialect, counts_usage=False))
        failure = failure_of(reply.status, body, reply.headers)
        raise with_advice(failure, status=reply.status, api_key=self._key)
