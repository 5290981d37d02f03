import re

import pytest

from tests.benchmarks.test_benchmarks import PROC, printed

pytestmark = pytest.mark.skipif(not PROC.exists(), reason="the kernel does not tell what others use")


@pytest.mark.parametrize("place", ["memory", "file", "sqlite", "postgresql", "redis"])
def test_every_history_gives_a_table_with_ratios(place: str) -> None:
    lines = printed("history", "--places", place, "--times", "1", "--lengths", "4", "20")

    rows = [line for line in lines if line.startswith(place)]
    assert len(rows) == 3
    assert len(re.findall(r"\d+\.\d\d \( *\d+\.\d x\)", "".join(rows))) == (4 if place == "memory" else 6)
