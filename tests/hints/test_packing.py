import pytest
from hypothesis import given
from hypothesis.strategies import builds, one_of, sampled_from, sets, text, uuids

from tertulia.hints import EVERYTHING, WORK
from tertulia.hints.packing import MAX_RUNS, pack, unpack
from tertulia.ids import RUN, from_bytes
from tertulia.testing.hints_contract import a_run

runs = builds(lambda found: from_bytes(RUN, found.bytes), uuids())


@given(topics=sets(one_of(runs, sampled_from([WORK])), max_size=50))
def test_what_is_packed_comes_out_as_it_was(topics: set[str]) -> None:
    assert unpack(pack(topics)) == topics


@given(topics=sets(one_of(runs, text(max_size=40), sampled_from([WORK, EVERYTHING])), max_size=20))
def test_whatever_is_packed_nothing_is_missed(topics: set[str]) -> None:
    packed = unpack(pack(topics))

    assert packed >= topics or packed == {EVERYTHING}


@given(read=text(max_size=60))
def test_whatever_comes_over_the_wire_can_be_read(read: str) -> None:
    assert all(topic in {WORK, EVERYTHING} or len(topic) == 36 for topic in unpack(read))


@pytest.mark.parametrize("read", ["", "*", "x", "waaaa", "-!", "- AAAAAAAAAAAAAAAAAAAAAA==", "-é"])
def test_what_cannot_be_read_is_everything(read: str) -> None:
    assert unpack(read) == {EVERYTHING}


def test_text_is_never_longer_than_postgresql_takes() -> None:
    most = {a_run() for _ in range(MAX_RUNS)} | {WORK}

    assert unpack(pack(most)) == most
    assert len(pack(most).encode()) < 8000
    assert pack(most | {a_run()}) == EVERYTHING
