"""Packages that only some tests need: without one they are skipped, but in CI they fail."""

import os
from importlib import import_module
from types import ModuleType

import pytest


def demanded(name: str) -> ModuleType:
    """Return a module that "make test" installs; skip the tests of this file if it is missing."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        if os.environ.get("CI"):
            raise
        pytest.skip(f'{name} is not installed; "make test" does it', allow_module_level=True)
