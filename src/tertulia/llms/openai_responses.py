"""OpenAI, and any server that speaks its Responses API, asked without a library in between."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import ClassVar, Final
from urllib.parse import quote

from typing_extensions import override

from tertulia.errors import AnswerGone, ModelError, ModelMalformed
from tertulia.llms.base import LLMEvent, Prompt
from tertulia.llms.connection import Reply
from tertulia.llms.openai_account import PUBLIC_URL, check_key, with_advice
from tertulia.llms.openai_model import OpenAIModel
from tertulia.llms.responses_following import Following, hear, path_of
from tertulia.llms.retrying import Pause
from tertulia.llms.wire.failures import failure_of
from tertulia.llms.wire.responses_answer import ResponsesAnswer
from tertulia.llms.wire.responses_body import Dialect, encode
from tertulia.llms.wire.responses_failures import NOT_FOUND, gone, is_about_reasoning, lacking
from tertulia.llms.wire.responses_items import without_reasoning
from tertulia.llms.wire.sse import decode

_CONVERSATIONS: Final = "/conversations"
_LACKS_NOTHING: Final = Dialect()
_ABANDON_SECONDS: Final = 5.0


class OpenAIResponses(OpenAIModel):
    """A model behind ``{base_url}/responses``.

    History is sent as bytes that were encoded when a message was first shown, so that a turn costs
    the same however long the conversation is. Of a prompt's settings the stop sequences, the seed and
    the penalties are left out, as this API has none.

    With ``background`` set the provider works on by itself, and keeps the answer: its id is told at
    once, cut connections are gone on with, and ``resumes`` takes it up again. A model or server that
    cannot do so is asked in the plain way. Nothing is asked for twice here.

    A prompt that goes on from what the provider keeps has its answer kept, too, whatever its settings
    say. If the provider has it no longer, or cannot go on from it because a call of a tool never had
    its result, this is :class:`~tertulia.errors.AnswerGone`; while another answer is on its way into the
    same conversation, it is :class:`~tertulia.errors.ModelBusy`.
    """

    provider: ClassVar[str] = "openai"

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
        pause: Pause = asyncio.sleep,
    ) -> None:
        super().__init__(
            model,
            base_url=base_url,
            api_key=api_key,
            connect_seconds=connect_seconds,
            keep_alive_seconds=keep_alive_seconds,
            name=name,
            window=window,
        )
        self._dialect = Dialect()
        self._following = Following(self._connection, pause=pause)

    @property
    @override
    def keeps_answers(self) -> bool:
        return "keeping" not in self._dialect.lacks

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        check_key(self._url, self._key)
        found = None if prompt.resumes is None else await self._following.look_up(prompt.resumes)
        if found is None:
            reply, answer = await self._ask(prompt)
            async with aclosing(hear(reply, answer)) as events:
                async for event in events:
                    yield event
        else:
            answer = ResponsesAnswer(self._model, goes_on_with=prompt.resumes, leans_on=prompt.leans_on)
            for event in answer.take(found):
                yield event
        async with aclosing(self._following.rest(answer)) as events:
            async for event in events:
                yield event
        yield answer.finished()

    @override
    async def begin_conversation(self) -> str:
        check_key(self._url, self._key)
        reply = await self._connection.post(_CONVERSATIONS, b"{}")
        if not reply.is_ok:
            raise await self._failure(reply)
        found = decode(await reply.read_some())
        ident = found.get("id") if isinstance(found, dict) else None
        if not isinstance(ident, str) or not ident:
            raise ModelMalformed("the model's provider sent something that is no conversation")
        return ident

    @override
    async def forget_conversation(self, external_id: str) -> None:
        check_key(self._url, self._key)
        reply = await self._connection.delete(f"{_CONVERSATIONS}/{quote(external_id, safe='')}")
        if reply.is_ok or reply.status == NOT_FOUND:
            await reply.read_some()
        else:
            raise await self._failure(reply)

    @override
    async def abandon(self, external_id: str) -> None:
        with suppress(ModelError, TimeoutError):
            async with asyncio.timeout(_ABANDON_SECONDS):
                reply = await self._connection.post(path_of(external_id) + "/cancel", b"{}")
                await reply.read_some()

    async def _ask(self, prompt: Prompt, lacks: Dialect = _LACKS_NOTHING) -> tuple[Reply, ResponsesAnswer]:
        dialect, leans_on = self._dialect.also(lacks), prompt.leans_on
        if leans_on is not None and "keeping" in dialect.lacks:
            raise AnswerGone("the model's provider keeps no answers to go on from; show it everything")
        reply = await self._connection.post("/responses", encode(self._model, prompt, dialect))
        if reply.is_ok:
            # What was lacking counts for others only once asking without it has helped.
            self._dialect = self._dialect.also(lacks)
            return reply, ResponsesAnswer(
                self._model,
                is_kept=dialect.keeps(prompt),
                works_alone=dialect.works_alone(prompt.settings),
                leans_on=leans_on,
            )
        body = await reply.read_some()
        if error := gone(reply.status, body, leans_on):
            raise error
        unthought = without_reasoning(prompt) if is_about_reasoning(reply.status, body) else prompt
        if unthought is not prompt:
            return await self._ask(unthought, lacks)
        if skill := lacking(reply.status, body, dialect.used(prompt)):
            return await self._ask(prompt, lacks.without(skill))
        failure = failure_of(reply.status, body, reply.headers)
        raise with_advice(failure, status=reply.status, api_key=self._key)

    async def _failure(self, reply: Reply) -> ModelError:
        return with_advice(await reply.failure(), status=reply.status, api_key=self._key)
