"""Any server that speaks OpenAI's chat completions, asked without a library in between."""

from typing import ClassVar

from typing_extensions import override

from tertulia.llms.base import Prompt
from tertulia.llms.openai_plug import OpenAIPlug
from tertulia.llms.wire.answer import Answer
from tertulia.llms.wire.body import Dialect, encode


class OpenAIChat(OpenAIPlug):
    """A model behind ``{base_url}/chat/completions``.

    History is sent as bytes that were encoded when a message was first shown, so that a turn costs
    the same however long the conversation is.
    """

    provider: ClassVar[str] = "openai-chat"
    path: ClassVar[str] = "/chat/completions"

    @override
    def _body(self, prompt: Prompt, dialect: Dialect) -> bytes:
        return encode(self._model, prompt, dialect)

    @override
    def _answer(self, prompt: Prompt) -> Answer:
        return Answer(self._model)
