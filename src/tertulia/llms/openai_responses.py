"""OpenAI, and any server that speaks its Responses API, asked without a library in between."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Final, Self

from typing_extensions import override

from tertulia.errors import ModelError, UnknownModel
from tertulia.llms import openai_account
from tertulia.llms.base import LLMEvent, Prompt
from tertulia.llms.connection import Connection, Reply
from tertulia.llms.openai_account import KEY_VARIABLE, PUBLIC_URL, URL_VARIABLE, check_key, with_advice
from tertulia.llms.options import LLMOptions, LLMPlug, ModelName, SupportsTrying
from tertulia.llms.responses_following import Following, hear, path_of
from tertulia.llms.retrying import Pause
from tertulia.llms.wire.failures import failure_of
from tertulia.llms.wire.responses_answer import ResponsesAnswer
from tertulia.llms.wire.responses_body import Dialect, encode
from tertulia.llms.wire.responses_failures import gone, is_about_reasoning, lacking
from tertulia.llms.wire.responses_items import without_reasoning

_LACKS_NOTHING: Final = Dialect()
_ABANDON_SECONDS: Final = 5.0


class OpenAIResponses(LLMPlug, SupportsTrying):
    """A model behind ``{base_url}/responses``.

    History is sent as bytes that were encoded when a message was first shown, so that a turn costs
    the same however long the conversation is. Of a prompt's settings the stop sequences, the seed and
    the penalties are left out, as this API has none.

    With ``background`` set the provider works on by itself, and keeps the answer: its id is told at
    once, cut connections are gone on with, and ``resumes`` takes it up again. A model or server that
    cannot do so is asked in the plain way. Nothing is asked for twice here.
    """

    def __init__(  # noqa: PLR0913  # a public constructor
        self,
        model: str,
        *,
        base_url: str = PUBLIC_URL,
        api_key: str | None = None,
        connect_seconds: float = 10.0,
        keep_alive_seconds: float = 30.0,
        window: int | None = None,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._model, self._base_url, self._key, self._window = model, base_url, api_key, window
        self._dialect = Dialect()
        self._connection = Connection(
            base_url, api_key=api_key, connect_seconds=connect_seconds, keep_alive_seconds=keep_alive_seconds
        )
        self._following = Following(self._connection, pause=pause)

    @override
    @classmethod
    def build(cls, name: ModelName, options: LLMOptions) -> Self:
        if not name.model:
            raise UnknownModel("say which model: openai:NAME")
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
        return f"openai:{self._model}"

    @property
    @override
    def window(self) -> int | None:
        return self._window

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        check_key(self._base_url, self._key)
        found = None if prompt.resumes is None else await self._following.look_up(prompt.resumes)
        if found is None:
            reply, answer = await self._ask(prompt)
            async with aclosing(hear(reply, answer)) as events:
                async for event in events:
                    yield event
        else:
            answer = ResponsesAnswer(self._model, goes_on_with=prompt.resumes)
            for event in answer.take(found):
                yield event
        async with aclosing(self._following.rest(answer)) as events:
            async for event in events:
                yield event
        yield answer.finished()

    @override
    async def try_open(self) -> None:
        check_key(self._base_url, self._key)

    @override
    async def abandon(self, external_id: str) -> None:
        with suppress(ModelError, TimeoutError):
            async with asyncio.timeout(_ABANDON_SECONDS):
                reply = await self._connection.post(path_of(external_id) + "/cancel", b"{}")
                await reply.read_some()

    @override
    async def close(self) -> None:
        await self._connection.close()

    async def _ask(self, prompt: Prompt, lacks: Dialect = _LACKS_NOTHING) -> tuple[Reply, ResponsesAnswer]:
        dialect, settings = self._dialect.also(lacks), prompt.settings
        reply = await self._connection.post("/responses", encode(self._model, prompt, dialect))
        if reply.is_ok:
            # What was lacking counts for others only once asking without it has helped.
            self._dialect = self._dialect.also(lacks)
            is_kept, works_alone = dialect.keeps(settings), dialect.works_alone(settings)
            return reply, ResponsesAnswer(self._model, is_kept=is_kept, works_alone=works_alone)
        body = await reply.read_some()
        if error := gone(reply.status, body, prompt.follows):
            raise error
        unthought = without_reasoning(prompt) if is_about_reasoning(reply.status, body) else prompt
        if unthought is not prompt:
            return await self._ask(unthought, lacks)
        if skill := lacking(reply.status, body, dialect.used(prompt)):
            return await self._ask(prompt, lacks.without(skill))
        failure = failure_of(reply.status, body, reply.headers)
        raise with_advice(failure, status=reply.status, api_key=self._key)
