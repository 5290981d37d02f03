"""The benchmark of the library runs and prints its table; how quick anything is, is asserted nowhere."""

import re

import pytest

from benchmarks import library


def test_the_table_has_a_line_for_each_kind(capsys: pytest.CaptureFixture[str]) -> None:
    library.main(["--rounds", "1", "--conversations", "1", "--upto", "10"])

    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[-2:] == ["t1", "t10"]
    assert [line[:25].strip() for line in lines] == list(library.KINDS)
    assert all(re.search(r" \d+\.\d{3} +\d+\.\d{3}$", line) for line in lines)
