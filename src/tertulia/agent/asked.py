"""What a run was asked with beside its message, as it is read when the run is carried out."""

from collections.abc import Mapping
from typing import Final

from tertulia.agent_settings import ModelSettings, RunLimits

RUN_LIMITS: Final = RunLimits(max_steps=50)
"""What a run may use up, if nothing else was said."""


def settings_of(options: Mapping[str, object]) -> ModelSettings:
    """Return the settings that a run was accepted with."""
    kept = options.get("settings")
    return ModelSettings.of_kept(kept) if isinstance(kept, dict) else ModelSettings()


def limits_of(options: Mapping[str, object]) -> RunLimits:
    """Return the limits that a run was accepted with."""
    kept = options.get("limits")
    return RunLimits.of_kept(kept) if isinstance(kept, dict) else RunLimits()
