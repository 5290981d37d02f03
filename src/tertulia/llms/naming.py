"""Models by name: ``provider:model`` in, a model that can be relied on out."""

from typing import Final

from tertulia.errors import UnknownModel
from tertulia.llms import LLMS
from tertulia.llms.base import LLM
from tertulia.llms.limited import Limited
from tertulia.llms.options import LLMOptions, LLMPlug
from tertulia.llms.retrying import Retrying

DEFAULT_OPTIONS: Final = LLMOptions()


def open_llm(name: str, *, options: LLMOptions = DEFAULT_OPTIONS) -> LLM:
    """Return the model of this name, with retries and time limits around it.

    The limit on the whole call spans all attempts, that on the first token each of them. Raises
    :class:`~tertulia.errors.UnknownModel`.
    """
    plug = bare_llm(name, options=options)
    each = Limited(plug, first_token=options.first_token_seconds) if options.first_token_seconds else plug
    again = Retrying(each, attempts=options.attempts, budget_seconds=options.whole_seconds)
    return Limited(again, whole=options.whole_seconds)


def bare_llm(name: str, *, options: LLMOptions = DEFAULT_OPTIONS) -> LLMPlug:
    """Return the model of this name as its plug gives it; raises ``UnknownModel``."""
    provider, model = split_name(name)
    return LLMS.get(provider).build(model, options)


def split_name(name: str) -> tuple[str, str]:
    """Return the provider, which is one that we have, and its name of the model.

    Raises ``UnknownModel``, which lists the providers.
    """
    provider, _, model = name.strip().partition(":")
    if provider not in LLMS:
        known = ", ".join(sorted(LLMS))
        raise UnknownModel(f"no model {name!r}: write provider:model; the providers are: {known}")
    return provider, model
