"""Where OpenAI's servers are found, and what they want: the same for every plug that asks them."""

import asyncio
from typing import Final
from urllib.parse import urlsplit

from tertulia.errors import ModelError, ModelMalformed, ModelRefused, ModelTimeout
from tertulia.llms.connection import Connection, Reply
from tertulia.llms.options import LLMOptions
from tertulia.llms.wire.sse import decode

PUBLIC_URL: Final = "https://api.openai.com/v1"
KEY_VARIABLE: Final = "OPENAI_API_KEY"
URL_VARIABLE: Final = "OPENAI_BASE_URL"

_MAX_LIST: Final = 8 * 1024 * 1024
_LIST_SECONDS: Final = 30.0
_UNAUTHORIZED: Final = 401


def is_public(base_url: str) -> bool:
    """Whether this is OpenAI itself, and no other server that speaks like it."""
    return urlsplit(base_url).hostname == urlsplit(PUBLIC_URL).hostname


def check_key(base_url: str, api_key: str | None) -> None:
    """Raise :class:`~tertulia.errors.ModelRefused` if OpenAI is to be asked without a key."""
    if is_public(base_url) and not api_key:
        raise ModelRefused(
            f"OpenAI wants a key: set {KEY_VARIABLE}, or {URL_VARIABLE} for another server,"
            " or choose the model 'local'"
        )


def with_advice(failure: ModelError, *, status: int, api_key: str | None) -> ModelError:
    """Return the failure with where to look, if it is about the key that was sent, or was not."""
    if status != _UNAUTHORIZED:
        return failure
    what = f"see to {KEY_VARIABLE}" if api_key else f"it wants a key: set {KEY_VARIABLE}"
    return type(failure)(f"{failure}; {what}", retry_after=failure.retry_after)


async def list_models(options: LLMOptions) -> list[str]:
    """Return the names of all models behind the base URL, sorted; raises what asking a model raises."""
    url, key = options.url(URL_VARIABLE, PUBLIC_URL), options.key(KEY_VARIABLE)
    check_key(url, key)
    connection = Connection(url, api_key=key, connect_seconds=options.connect_seconds)
    try:
        async with asyncio.timeout(_LIST_SECONDS):
            reply = await connection.get("/models")
            if not reply.is_ok:
                raise with_advice(await reply.failure(), status=reply.status, api_key=key)
            return await _names(reply)
    except TimeoutError:
        raise ModelTimeout("the model's provider took too long to list its models") from None
    finally:
        await connection.close()


async def _names(reply: Reply) -> list[str]:
    found = decode(await reply.read_all(most=_MAX_LIST))
    models = found.get("data") if isinstance(found, dict) else None
    if not isinstance(models, list):
        raise ModelMalformed("the model's provider sent something that is no list of models")
    idents = (model.get("id") for model in models if isinstance(model, dict))
    return sorted({ident for ident in idents if isinstance(ident, str) and ident})
