import pytest

import tertulia
from tertulia import testing


@pytest.mark.parametrize("module", [tertulia, testing])
def test_everything_that_is_promised_is_there(module: object) -> None:
    for name in module.__all__:  # type: ignore[attr-defined]  # of a module
        assert getattr(module, name) is not None


def test_what_is_not_promised_is_named() -> None:
    with pytest.raises(AttributeError, match="nowhere"):
        testing.nowhere  # noqa: B018
