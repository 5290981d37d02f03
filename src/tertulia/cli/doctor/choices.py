"""Checks of what was chosen: settings and where they come from, files that they name, keys."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tertulia.cli.doctor.findings import (
    HIDDEN,
    Case,
    Finding,
    advice_of,
    broken,
    good,
    warning,
    without_secrets,
)
from tertulia.cli.offers import try_model
from tertulia.errors import InvalidInput, ModelRefused, TertuliaError
from tertulia.llms import LLMS
from tertulia.llms.naming import split_name
from tertulia.llms.prices import Prices
from tertulia.settings import LOCAL_MODEL, PREFIX, Settings, misspelt

ENV_FILE: Final = ".env"
_KEYS: Final = ("_KEY", "_KEY_ID", "_TOKEN", "_TOKEN_BEDROCK", "_CREDENTIALS")
_SET: Final = "set "
_ALSO: Final = ("AWS", "CO", "GEMINI", "HF")
"""What else the names of keys begin with, beside the providers' own names."""


def origins_of(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """Return where each variable of ours comes from, by how the environment was before the file was read."""
    ours = sorted(name for name, value in after.items() if name.startswith(PREFIX) and value)
    return {name: "the environment" if name in before else ENV_FILE for name in ours}


async def check_settings(case: Case) -> list[Finding]:
    """Say what was chosen, and where."""
    found = [
        good("settings", f"{name} = {_shown(name, case.settings)}, from {origin}")
        for name, origin in case.origins.items()
        if _field(name) in Settings.model_fields
    ]
    found += [
        warning(
            "settings", f"{name} is no setting", f"rename it to {nearest}" if nearest else f"unset {name}"
        )
        for name, nearest in misspelt(case.origins).items()
    ]
    where = await asyncio.to_thread(_env_file)
    return [good("settings", where if found else f"all as they are by default; {where}"), *found]


async def check_keys(case: Case) -> list[Finding]:
    """Say which providers' keys are there, by the names of their variables, and which the default lacks."""
    names = sorted(name for name, value in os.environ.items() if value and _is_key(name))
    default = case.models.names(None)
    lacking = [finding for name in default if (finding := await _lacking_key(name, case))]
    found = [good("keys", ", ".join(names))] if names else []
    if not names and not lacking:
        found.append(good("keys", f"none of a provider: {_needs_none(default)}"))
    found += lacking
    if url := os.environ.get("OPENAI_BASE_URL"):
        found.append(good("keys", f"OPENAI_BASE_URL leads to {without_secrets(url)}"))
    return found


async def check_prices(case: Case) -> list[Finding]:
    """Say whether the file of prices can be used."""
    if case.settings.prices_file is None:
        return []
    try:
        Prices.of_file(case.settings.prices_file)
    except InvalidInput as error:
        return [broken("prices", str(error), f"mend the file that {PREFIX}PRICES_FILE names")]
    return [good("prices", f"{case.settings.prices_file} goes before what providers list")]


async def _lacking_key(model: str, case: Case) -> Finding | None:
    try:
        await try_model(split_name(model), case.models.options)
    except ModelRefused as error:
        advice = advice_of(error)
        is_about_a_key = _is_key(advice.removeprefix(_SET))
        return warning("keys", f"{model} wants one", advice) if is_about_a_key else None
    except TertuliaError:
        pass  # The check of models tells of it.
    return None


def _needs_none(models: tuple[str, ...]) -> str:
    if models == (LOCAL_MODEL,):
        return "the embedded model needs none"
    return f"{', '.join(models)} {'needs' if len(models) == 1 else 'need'} none"


def _env_file() -> str:
    return f"{ENV_FILE} is read" if Path(ENV_FILE).is_file() else f"there is no {ENV_FILE} here"


def _field(variable: str) -> str:
    name = variable.removeprefix(PREFIX).lower()
    secret = name.removesuffix("_file")
    return secret if secret in Settings.secrets else name


def _shown(variable: str, settings: Settings) -> str:
    name = _field(variable)
    if variable.endswith("_FILE") and name in Settings.secrets:
        return f"the content of a file ({HIDDEN})"
    value = getattr(settings, name)
    return without_secrets(value) if name in Settings.secrets else str(value)


def _is_key(variable: str) -> bool:
    begun = (f"{name.upper().replace('-', '_')}_" for name in (*LLMS, *_ALSO))
    return variable.endswith(_KEYS) and variable.startswith(tuple(begun))
