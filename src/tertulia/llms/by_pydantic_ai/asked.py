"""One model of pydantic-ai's that can be asked: prompts in, our events out, nobody else's errors."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Final, cast

from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.messages import ModelMessage, ModelResponseStreamEvent
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.settings import ModelSettings

from tertulia.errors import ModelError
from tertulia.llms.base import LLMEvent, Prompt
from tertulia.llms.by_pydantic_ai.answer import Heard
from tertulia.llms.by_pydantic_ai.conversation import messages_of
from tertulia.llms.by_pydantic_ai.dialect import Dialect
from tertulia.llms.by_pydantic_ai.failures import ours, unopened
from tertulia.llms.by_pydantic_ai.manners import Manners
from tertulia.llms.by_pydantic_ai.own_task import in_own_task
from tertulia.llms.by_pydantic_ai.request import Form
from tertulia.llms.owned import OwnedTasks

_GOODBYE_SECONDS: Final = 1.0


class AskedModel:
    """A model that is open; it belongs to the event loop in which it is first asked."""

    def __init__(
        self, model: Model, manners: Manners, *, close: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        self._model, self._close = model, close
        self._if_out_of_reach = manners.if_out_of_reach
        self._dialect = Dialect.of(model, manners)
        self._form = Form(model, manners)
        self._entered: AsyncExitStack | None = None
        self._tasks = OwnedTasks()

    @property
    def window(self) -> int | None:
        """Tokens that a prompt and its answer may have together, if the library knows."""
        return self._model.context_window

    async def enter(self) -> None:
        """Take hold of the connections; raises ``ModelRefused`` if that cannot be done."""
        try:
            async with AsyncExitStack() as stack:
                if self._close:
                    stack.push_async_callback(self._close)
                await stack.enter_async_context(self._model)
                self._entered = stack.pop_all()
        except Exception as error:
            # As for a call: it is the libraries' code that runs here.
            raise unopened(error, self._model.model_name) from error

    async def close(self) -> None:
        """Let go of the connections; may be called twice."""
        await self._tasks.finish(within_seconds=_GOODBYE_SECONDS)
        entered, self._entered = self._entered, None
        if entered:
            await entered.aclose()

    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        """Ask, and yield the answer as it comes; raises errors of the ``ModelError`` family only."""
        try:
            messages = messages_of(prompt.messages, self._dialect)
            settings = self._form.settings(prompt, messages)
            parameters = self._form.parameters(prompt, messages)
            ask = self._in_pieces if prompt.wants_deltas else self._at_once
            asked = ask(messages, settings, parameters)
            async with aclosing(in_own_task(asked, owner=self._tasks)) as events:
                async for event in events:
                    yield event
        except ModelError:
            raise
        except Exception as error:
            # Whatever a dozen libraries may raise, now or in their next version, is translated here.
            raise ours(error, if_out_of_reach=self._if_out_of_reach) from error

    async def _at_once(
        self, messages: list[ModelMessage], settings: ModelSettings, parameters: ModelRequestParameters
    ) -> AsyncGenerator[LLMEvent, None]:
        heard = Heard()
        response = await model_request(
            self._model,
            messages,
            model_settings=settings,
            model_request_parameters=parameters,
            instrument=False,
        )
        for said in (heard.whole(response), heard.rest()):
            if said:
                yield said
        yield heard.finished(response, system=self._dialect.system, model=self._model.model_name)

    async def _in_pieces(
        self, messages: list[ModelMessage], settings: ModelSettings, parameters: ModelRequestParameters
    ) -> AsyncGenerator[LLMEvent, None]:
        heard = Heard()
        async with model_request_stream(
            self._model,
            messages,
            model_settings=settings,
            model_request_parameters=parameters,
            instrument=False,
        ) as response:
            events = cast("AsyncGenerator[ModelResponseStreamEvent, None]", aiter(response))
            async with aclosing(events):
                async for event in events:
                    if added := heard.take(event):
                        yield added
            whole = response.get()
        if said := heard.rest():
            yield said
        yield heard.finished(whole, system=self._dialect.system, model=self._model.model_name)
