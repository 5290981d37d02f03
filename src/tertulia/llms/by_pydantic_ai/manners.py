"""What differs between providers and pydantic-ai does not tell, as one table."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from re import Pattern
from typing import Final

_NOTHING: Final = re.compile(r"(?!)")
_IMAGES: Final = re.compile(r"image/.*")
_COMMON_IMAGES: Final = re.compile(r"image/(?:png|jpeg|gif|webp)")
_IMAGES_AND_PDF: Final = re.compile(r"image/.*|application/pdf")
_COMMON_IMAGES_AND_PDF: Final = re.compile(r"image/(?:png|jpeg|gif|webp)|application/pdf")
_ANYTHING: Final = re.compile(r".*")
_CALL_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")
_SHORT_CALL_ID: Final = re.compile(r"[A-Za-z0-9]{9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How a provider wants to be asked."""

    extra: str = "providers"
    """What its packages are installed with."""
    takes: Pattern[str] = _IMAGES_AND_PDF
    """Media types whose bytes it takes, if the model does."""
    fetches: Pattern[str] = _IMAGES
    """Media types that it fetches itself, given their address. The bytes of any other would be fetched
    by our process, from wherever the address leads."""
    schemes: tuple[str, ...] = ("https://", "http://")
    """What such an address begins with."""
    call_id: Pattern[str] = _CALL_ID
    """The ids of calls that it takes; others are made to fit."""
    hottest: float = 2.0
    """The highest temperature that it takes."""
    top_p: tuple[float, float] = (0.0, 1.0)
    """The least and the most of ``top_p`` that it takes."""
    alternates: bool = False
    """Whether two messages of a user in a row may be refused."""
    caches_on_wish: bool = False
    """Whether it keeps the beginning of a prompt in its cache only if it is told to."""
    wants_tools_declared: bool = False
    """Whether calls in the history are refused if no tools are declared."""
    is_shown_reasoning: bool = True
    """Whether it has a place for what it thought before; elsewhere that would become part of the text."""
    shapes_with_tools: bool = True
    """Whether it enforces an answer's schema where it has tools."""
    shapes_in_pieces: bool = True
    """Whether it enforces an answer's schema where it streams."""
    if_out_of_reach: str = ""
    """What to do if it cannot be reached, where that is up to whoever asks."""


MANNERS: Final[Mapping[str, Manners]] = {
    "anthropic": Manners(
        extra="anthropic",
        takes=_COMMON_IMAGES_AND_PDF,
        fetches=_IMAGES_AND_PDF,
        hottest=1.0,
        caches_on_wish=True,
        wants_tools_declared=True,
    ),
    "bedrock": Manners(
        extra="bedrock",
        takes=_COMMON_IMAGES_AND_PDF,
        fetches=_COMMON_IMAGES_AND_PDF,
        schemes=("s3://",),
        hottest=1.0,
        caches_on_wish=True,
        wants_tools_declared=True,
    ),
    "cohere": Manners(extra="cohere", takes=_NOTHING, fetches=_NOTHING, hottest=1.0, top_p=(0.01, 0.99)),
    "deepseek": Manners(takes=_NOTHING, fetches=_NOTHING),
    "google": Manners(extra="google", takes=_ANYTHING, fetches=_NOTHING, shapes_with_tools=False),
    "google-cloud": Manners(
        extra="google",
        takes=_ANYTHING,
        fetches=_ANYTHING,
        schemes=("https://", "gs://"),
        shapes_with_tools=False,
    ),
    "groq": Manners(
        extra="groq", takes=_IMAGES, is_shown_reasoning=False, shapes_with_tools=False, shapes_in_pieces=False
    ),
    "huggingface": Manners(extra="huggingface", takes=_IMAGES, alternates=True, is_shown_reasoning=False),
    "mistral": Manners(extra="mistral", fetches=_IMAGES_AND_PDF, call_id=_SHORT_CALL_ID, hottest=1.5),
    "ollama": Manners(
        takes=_IMAGES,
        fetches=_NOTHING,
        if_out_of_reach="start it with ollama serve, or set OLLAMA_BASE_URL",
    ),
    "openrouter": Manners(extra="openrouter", fetches=_IMAGES_AND_PDF),
}
_OTHERS: Final = Manners()


def manners_of(provider: str) -> Manners:
    """Return how a provider wants to be asked; those without a line of their own speak as OpenAI does."""
    return MANNERS.get(provider, _OTHERS)
