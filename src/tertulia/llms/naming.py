"""Models by name: ``provider:model`` in, a model that can be relied on out.

Around the plug stand, from the inside: a limit on the wait for the first token of each attempt
(:class:`~tertulia.llms.limited.Limited`, if there is one), new attempts
(:class:`~tertulia.llms.retrying.Retrying`), a limit on all of them together (``Limited`` again), and
what it has cost (:class:`~tertulia.llms.priced.Priced`). Looking up a price, which takes a moment once
for every model, so never makes the answer of a single model too late. Around several such models stands
a :class:`~tertulia.llms.fallback.Fallback`, whose time it counts to.
"""

import re
from collections.abc import Sequence
from typing import Final

from tertulia.errors import UnknownModel
from tertulia.llms import LLMS
from tertulia.llms.base import LLM
from tertulia.llms.fallback import Fallback
from tertulia.llms.limited import Limited
from tertulia.llms.options import LLMOptions, LLMPlug, ModelName
from tertulia.llms.priced import Priced
from tertulia.llms.retrying import Retrying

DEFAULT_OPTIONS: Final = LLMOptions()
IN_CHAIN_SECONDS: Final = 5.0
"""How long a model is asked again while another one stands behind it."""

_URL_VARIABLES: Final = {
    "openai": "OPENAI_BASE_URL",
    "openai-chat": "OPENAI_BASE_URL",
    "openai-completions": "OPENAI_BASE_URL",
}
"""Where a provider's name does not say who is asked, the variable that does."""
_COMMA: Final = re.compile(r"\s*,\s*(?=[\w-]+:|local\s*(?:,|$))")
"""A comma between models; one in what a scripted model says is none."""


def open_chain(plugs: Sequence[LLM], *, options: LLMOptions = DEFAULT_OPTIONS) -> LLM:
    """Return a model that asks these, each standing in for the one before it; it may be a single one.

    Around each stand retries, time limits and its price: the limit on the whole call spans all attempts,
    that on the first token each of them. Altogether they have the time that one has.
    """
    *first, last = plugs
    seconds = min(IN_CHAIN_SECONDS, options.whole_seconds)
    models = [relied_on(plug, options=options, again_seconds=seconds) for plug in first]
    models.append(relied_on(last, options=options, again_seconds=options.whole_seconds))
    return models[0] if len(models) == 1 else Fallback(models, whole=options.whole_seconds)


def relied_on(plug: LLM, *, options: LLMOptions, again_seconds: float) -> LLM:
    """Return a model with what stands around every one; it is asked anew for ``again_seconds``."""
    each = Limited(plug, first_token=options.first_token_seconds) if options.first_token_seconds else plug
    again = Retrying(each, attempts=options.attempts, budget_seconds=again_seconds)
    return Priced(
        Limited(again, whole=options.whole_seconds), options.prices, address=_address(plug, options)
    )


def split_chain(names: str) -> tuple[str, ...]:
    """Return the names in a list of models with commas between them."""
    return tuple(_COMMA.split(names.strip()))


def bare_llm(name: str, *, options: LLMOptions = DEFAULT_OPTIONS) -> LLMPlug:
    """Return the model of this name as its plug gives it; raises ``UnknownModel``."""
    named = split_name(name)
    return LLMS.get(named.provider).build(named, options)


def split_name(name: str) -> ModelName:
    """Return the name of a model of a provider that we have, taken apart.

    Raises ``UnknownModel``, which lists the providers.
    """
    provider, _, model = name.strip().partition(":")
    if provider not in LLMS:
        known = ", ".join(sorted(LLMS))
        raise UnknownModel(f"no model {name!r}: write provider:model; the providers are: {known}")
    return ModelName(provider, model)


def _address(plug: LLM, options: LLMOptions) -> str:
    """Return where a model is asked, if that may be another place than its provider's own."""
    variable = _URL_VARIABLES.get(plug.name.partition(":")[0])
    return options.url(variable, "") if variable else ""
