"""Any server that speaks OpenAI's completions: models that go on with a text rather than converse."""

from typing import ClassVar

from typing_extensions import override

from tertulia.llms.base import Prompt
from tertulia.llms.openai_plug import OpenAIPlug
from tertulia.llms.wire.answer import Answer
from tertulia.llms.wire.body import Dialect
from tertulia.llms.wire.completion import Continuation, encode


class OpenAICompletions(OpenAIPlug):
    """A model behind ``{base_url}/completions``.

    A single message of a user, without an aside, is gone on with as it is. A conversation is written out as a
    transcript that ends where the assistant speaks, and the answer ends where somebody else would.
    New media, and tools that it may call, are refused with :class:`~tertulia.errors.ModelRefused`; a
    response schema is not passed on. The whole transcript is written anew for every call.
    """

    provider: ClassVar[str] = "openai-completions"
    path: ClassVar[str] = "/completions"

    @override
    def _body(self, prompt: Prompt, dialect: Dialect) -> bytes:
        return encode(self._model, prompt, dialect)

    @override
    def _answer(self, prompt: Prompt) -> Answer:
        return Continuation(self._model)
