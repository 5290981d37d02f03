"""What all plugs of OpenAI's wires have in common: whom they ask, under which name, with which key."""

from typing import ClassVar, Self

from typing_extensions import override

from tertulia.errors import UnknownModel
from tertulia.llms import openai_account
from tertulia.llms.connection import Connection
from tertulia.llms.openai_account import KEY_VARIABLE, PUBLIC_URL, URL_VARIABLE, check_key
from tertulia.llms.options import LLMOptions, LLMPlug, ModelName, SupportsTrying


class OpenAIModel(LLMPlug, SupportsTrying):
    """A model of OpenAI's, or of a server that speaks as theirs does."""

    provider: ClassVar[str]
    """The first part of its models' names."""

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
    async def try_open(self) -> None:
        check_key(self._url, self._key)

    @override
    async def close(self) -> None:
        await self._connection.close()
