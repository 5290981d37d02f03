"""What plugs of OpenAI's older wires have in common: one request, and an answer read as it comes."""

from abc import abstractmethod
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import ClassVar, Final, Self

from typing_extensions import override

from tertulia.errors import AnswerGone, UnknownModel
from tertulia.llms import openai_account
from tertulia.llms.base import LLMEvent, Prompt
from tertulia.llms.connection import Connection, Reply
from tertulia.llms.openai_account import (
    KEY_VARIABLE,
    PUBLIC_URL,
    URL_VARIABLE,
    check_key,
    is_public,
    with_advice,
)
from tertulia.llms.options import LLMOptions, LLMPlug, ModelName, SupportsTrying
from tertulia.llms.wire.answer import Answer
from tertulia.llms.wire.body import Dialect
from tertulia.llms.wire.failures import failure_of, is_about

_MAYBE_DIALECT: Final = (400, 422)
_OPENAI: Final = Dialect(limit_name="max_completion_tokens", is_openai=True)
_OTHERS: Final = Dialect()


class OpenAIPlug(LLMPlug, SupportsTrying):
    """A model behind one path of a server that speaks as OpenAI's does.

    It is asked to stream where somebody reads along. Nothing is retried here. An answer that the
    server keeps cannot be followed on these wires, so that a prompt that does is refused with
    :class:`~tertulia.errors.AnswerGone`; background work is not to be had.
    """

    provider: ClassVar[str]
    """The first part of its models' names."""
    path: ClassVar[str]
    """Where it is asked, behind the base URL."""

    def __init__(  # noqa: PLR0913  # a public constructor
        self,
        model: str,
        *,
        base_url: str = PUBLIC_URL,
        api_key: str | None = None,
        connect_seconds: float = 10.0,
        keep_alive_seconds: float = 30.0,
        name: str | None = None,
        window: int | None = None,
    ) -> None:
        self._model, self._url, self._key = model, base_url, api_key
        self._name, self._window = name or f"{self.provider}:{model}", window
        self._dialect = _OPENAI if is_public(base_url) else _OTHERS
        self._connection = Connection(
            base_url, api_key=api_key, connect_seconds=connect_seconds, keep_alive_seconds=keep_alive_seconds
        )

    @override
    @classmethod
    def build(cls, name: ModelName, options: LLMOptions) -> Self:
        if not name.model:
            raise UnknownModel(f"say which model: {cls.provider}:NAME")
        return cls(
            name.model,
            base_url=options.url(URL_VARIABLE, PUBLIC_URL),
            api_key=options.key(KEY_VARIABLE),
            connect_seconds=options.connect_seconds,
        )

    @override
    @classmethod
    async def list_models(cls, provider: str, options: LLMOptions) -> list[str]:
        return await openai_account.list_models(options)

    @property
    @override
    def name(self) -> str:
        return self._name

    @property
    @override
    def window(self) -> int | None:
        return self._window

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

    @override
    async def try_open(self) -> None:
        check_key(self._url, self._key)

    @override
    async def close(self) -> None:
        await self._connection.close()

    @abstractmethod
    def _body(self, prompt: Prompt, dialect: Dialect) -> bytes:
        """Return the request's body; raises ``ModelRefused`` for what the wire cannot carry."""

    @abstractmethod
    def _answer(self, prompt: Prompt) -> Answer:
        """Return an answer that nothing was heard of yet."""

    async def _ask(self, prompt: Prompt, found: Dialect | None = None) -> Reply:
        """Return what is answered; ``found`` is a dialect that a server may have shown to speak."""
        check_key(self._url, self._key)
        if prompt.follows:
            raise AnswerGone("this provider's earlier answers cannot be followed; show it everything")
        dialect = found or self._dialect
        reply = await self._connection.post(self.path, self._body(prompt, dialect))
        if reply.is_ok:
            # What it does not know counts for others only once asking without it has helped.
            self._dialect = found or self._dialect
            return reply
        body = await reply.read_some()
        if dialect.counts_usage and reply.status in _MAYBE_DIALECT and is_about("stream_options", body):
            return await self._ask(prompt, replace(dialect, counts_usage=False))
        failure = failure_of(reply.status, body, reply.headers)
        raise with_advice(failure, status=reply.status, api_key=self._key)
