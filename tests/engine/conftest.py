"""What tests of the engine share: time that does not have to pass."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    """Make everybody look again, and everything be stored, almost at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tertulia.engine.following._PATIENCE", (0.001,))
        patch.setattr("tertulia.engine.recording.SOON_SECONDS", 0.001)
        patch.setattr("tertulia.engine.recording.LATER_SECONDS", 0.001)
        patch.setattr("tertulia.engine.engine.SETTLING_SECONDS", 0.2)
        yield
