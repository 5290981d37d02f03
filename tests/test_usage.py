"""What steps have cost adds up, field by field."""

from dataclasses import asdict, fields

from hypothesis import given
from hypothesis import strategies as st

from tertulia.usage import Usage

# Costs whose sums are exact.
usages = st.builds(
    Usage,
    **{f.name: st.integers(0, 2**40) for f in fields(Usage) if f.name != "cost"},
    cost=st.integers(0, 2**20).map(lambda cents: cents / 64),
)


@given(one=usages, other=usages)
def test_every_amount_is_added(one: Usage, other: Usage) -> None:
    total = one + other

    assert asdict(total) == {name: amount + asdict(other)[name] for name, amount in asdict(one).items()}


@given(usage=usages)
def test_nothing_adds_nothing(usage: Usage) -> None:
    assert usage + Usage() == Usage() + usage == usage


@given(one=usages, other=usages, third=usages)
def test_the_order_does_not_matter(one: Usage, other: Usage, third: Usage) -> None:
    assert (one + other) + third == (third + one) + other
