"""What tests of turns share: time that does not have to pass."""

from tests.engine.conftest import quick

__all__ = ["quick"]
