"""The benchmark of knowledge runs and prints its table; how quick anything is, is asserted nowhere."""

import pytest

from benchmarks import knowledge


def test_few_passages_give_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    knowledge.main(["--passages", "5", "10"])

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["memory", "5"],
        ["memory", "10"],
        ["sqlite", "5"],
        ["sqlite", "10"],
    ]
