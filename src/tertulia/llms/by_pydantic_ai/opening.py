"""Models by name: what pydantic-ai knows of a provider, put together with what we were told."""

import inspect
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import replace
from typing import Any, Final, Protocol, TypeAlias

from pydantic_ai.models import infer_model, known_model_names
from pydantic_ai.providers import Provider, infer_provider_class

from tertulia.llms.by_pydantic_ai.asked import AskedModel
from tertulia.llms.by_pydantic_ai.failures import unopened
from tertulia.llms.by_pydantic_ai.manners import manners_of
from tertulia.llms.options import LLMOptions, ModelName
from tertulia.registry import load

_Close: TypeAlias = Callable[[], Awaitable[object]]
_Opened: TypeAlias = tuple[Provider[Any], _Close | None]

_NO_KEY: Final = "none"
_SOME_REGION: Final = "us-east-1"
_READ_SECONDS: Final = 1200
"""The longest silence on a line: beyond all that is waited for around a model, usually."""
_LEGACY_HTTP: Final = frozenset({"cohere", "groq"})
"""Providers whose libraries take a client of HTTPX 0 only."""
_OWN_HTTP: Final = frozenset({"huggingface"})
"""Providers whose libraries make such a client themselves, and say no to any other."""
_DEFAULT_URLS: Final = {"ollama": ("OLLAMA_BASE_URL", "http://localhost:11434/v1")}


class _Request(Protocol):
    headers: MutableMapping[str, str]


class _Http(Protocol):
    """A client of either HTTPX, which providers' libraries ask through."""

    event_hooks: dict[str, list[Callable[[_Request], Awaitable[None]]]]

    async def aclose(self) -> None: ...


def open_model(name: ModelName, options: LLMOptions) -> AskedModel:
    """Return a model that can be asked; nothing is sent yet, but packages are imported, which takes a while.

    Raises ``ModelRefused``, naming what is to be set, and ``ImportError`` if a package is not there.
    """
    try:
        provider, close = _OPENERS.get(name.provider, _open)(name.provider, options)
        model = infer_model(str(name), provider_factory=lambda _name: provider)
        return AskedModel(model, manners_of(name.provider), close=close)
    except ImportError:
        raise
    except Exception as error:
        # Providers read files, environment and metadata servers here; whatever fails, it cannot be asked.
        raise unopened(error, str(name)) from error


def known_names(provider: str) -> list[str]:
    """Return the names of a provider's models that the library knows, sorted."""
    before = f"{provider}:"
    return sorted(name.removeprefix(before) for name in known_model_names() if name.startswith(before))


def _open(provider: str, options: LLMOptions) -> _Opened:
    found = infer_provider_class(provider)
    takes = inspect.signature(found.__init__).parameters
    given: dict[str, Any] = {}
    if options.api_key:
        given["api_key"] = options.api_key
    url = _url(provider, options)
    if url and "base_url" in takes:
        given["base_url"] = url
    elif url and "openai_client" in takes:
        return _open_at(url, found, replace(options, api_key=options.key(f"{provider.upper()}_API_KEY")))
    if "http_client" not in takes or provider in _OWN_HTTP:
        return found(**given), None
    http = given["http_client"] = _http(provider, options)
    return found(**given), http.aclose


def _url(provider: str, options: LLMOptions) -> str | None:
    if provider in _DEFAULT_URLS:
        return options.url(*_DEFAULT_URLS[provider])
    return options.base_url


def _open_at(url: str, found: type[Provider[Any]], options: LLMOptions) -> _Opened:
    """Open a provider that speaks as OpenAI does, at another address than its own."""
    http = _http("openai", options)
    if not options.api_key:
        _send_no_key(http)
    key = options.api_key or _NO_KEY
    client = load("openai:AsyncOpenAI")(base_url=url, api_key=key, http_client=http, max_retries=0)
    return found(openai_client=client), client.close  # type: ignore[call-arg]  # looked for before


def _http(provider: str, options: LLMOptions) -> _Http:
    """Return a client of HTTP for a provider's library; whoever asks for it closes it."""
    http: _Http
    if provider in _LEGACY_HTTP:
        make = load("pydantic_ai.models:create_async_http_client")
        http = make(timeout=_READ_SECONDS, connect=options.connect_seconds)
    else:
        limits = load("httpx2:Timeout")(_READ_SECONDS, connect=options.connect_seconds)
        http = load("pydantic_ai.models:create_async_httpx2_client")(timeout=limits)
    return http


def _open_cohere(_provider: str, options: LLMOptions) -> _Opened:
    found = load("pydantic_ai.providers.cohere:CohereProvider")
    http = _http("cohere", options)
    if not options.base_url:
        return found(api_key=options.api_key, http_client=http), http.aclose
    key = options.key("CO_API_KEY")
    if not key:
        _send_no_key(http)
    make = load("cohere:AsyncClientV2")
    client = make(api_key=key or _NO_KEY, base_url=options.base_url, httpx_client=http)
    return found(cohere_client=client), http.aclose


def _send_no_key(http: _Http) -> None:
    """Have requests go without a key: the libraries themselves want one in any case."""
    hooks = http.event_hooks
    http.event_hooks = {**hooks, "request": [*hooks["request"], _without_key]}


async def _without_key(request: _Request) -> None:
    request.headers.pop("Authorization", None)


def _open_bedrock(_provider: str, options: LLMOptions) -> _Opened:
    """Open Bedrock with a client of our own, because only so its retries can be turned off."""
    settings: dict[str, object] = {
        "retries": {"total_max_attempts": 1},
        "connect_timeout": options.connect_seconds,
        "read_timeout": _READ_SECONDS,
    }
    session = load("botocore.session:Session")()
    if key := options.key("AWS_BEARER_TOKEN_BEDROCK"):
        settings["signature_version"] = "bearer"
        token = load("botocore.tokens:FrozenAuthToken")(key)
        session.get_auth_token = lambda **_: token
        session.get_credentials = lambda: None
    # Another address than Amazon's own has no region, but one must be named.
    region = session.get_config_variable("region") or (_SOME_REGION if options.base_url else None)
    client = load("boto3:Session")(botocore_session=session, region_name=region).client(
        "bedrock-runtime", config=load("botocore.config:Config")(**settings), endpoint_url=options.base_url
    )
    return load("pydantic_ai.providers.bedrock:BedrockProvider")(bedrock_client=client), None


_OPENERS: Final[dict[str, Callable[[str, LLMOptions], _Opened]]] = {
    "bedrock": _open_bedrock,
    "cohere": _open_cohere,
}
