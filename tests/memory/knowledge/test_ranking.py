"""What fits comes first, and what fits too little does not come at all."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tertulia.memory.knowledge.ranking import MAX_TERMS, Ranked, asked_terms, ranked
from tertulia.memory.knowledge.terms import terms_of
from tertulia.stores.documents import Extent, Posting

HANDBOOK = (
    "Every employee has 25 days of vacation a year.",
    "Parental leave is fourteen weeks, and paid in full.",
    "Lunch is served in the kitchen at noon; every employee may bring a guest.",
    "The kitchen is closed on public holidays, and the coffee machine too.",
    "An employee who is ill calls the office before ten.",
    "Travel is booked by the office; an employee pays nothing in advance.",
)


def found(query: str, passages: tuple[str, ...] = HANDBOOK, *, limit: int = 5) -> list[int]:
    """Return the places of what is found among passages of one document, best first."""
    return [each.place for each in searched(query, passages, limit=limit)]


def searched(query: str, passages: tuple[str, ...], *, limit: int = 5) -> list[Ranked]:
    postings: dict[str, list[Posting]] = {}
    length = 0
    for place, passage in enumerate(passages):
        terms = Counter(terms_of(passage))
        length += terms.total()
        for term, count in terms.items():
            posting = Posting(document_id="doc_1", place=place, times=count, length=terms.total())
            postings.setdefault(term, []).append(posting)
    asked = asked_terms(terms_of(query))
    extent = Extent(passages=len(passages), length=length)
    return ranked(asked, {term: postings[term] for term in asked if term in postings}, extent, limit=limit)


def test_best_passage_comes_first() -> None:
    assert found("How many vacation days do I have?")[0] == 0
    assert found("Is parental leave paid?")[0] == 1
    assert found("When is the kitchen closed?")[0] == 3


def test_no_more_than_the_limit_is_found() -> None:
    assert len(found("employee kitchen office", limit=2)) == 2
    assert len(found("employee kitchen office", limit=9)) > 2


def test_small_talk_finds_nothing() -> None:
    for said in (
        "Thanks!",
        "Sure, that sounds really good, I know.",
        "Hello, how are you today?",
        "Write me a poem about a dragon, a princess and every star in heaven.",
        "Tell me something about quantum computers and an employee of the observatory on Mars.",
    ):
        assert found(said) == [], said


def test_long_message_finds_what_its_rare_words_name() -> None:
    message = (
        "My name is Bob, I moved here from Berlin last winter with my dog, and my neighbours have told me "
        "about somebody who was away for months: tell me about parental leave, will you?"
    )

    assert found(message) == [1]


def test_one_passage_is_enough_for_a_collection() -> None:
    only = ("Parental leave is fourteen weeks.",)

    assert found("How long is parental leave?", only) == [0]
    assert found("How is the weather in Lisbon?", only) == []


def test_passages_that_fit_far_less_than_the_best_are_left_out() -> None:
    passages = ("Tax form, tax office, tax number.", *["An office like any other in town."] * 5)

    assert found("tax office", passages) == [0]


def test_equals_are_in_the_order_of_the_document() -> None:
    assert found("lunch", ("Lunch.", "Dinner.", "Lunch.")) == [0, 2]


def test_nothing_is_found_where_nothing_is() -> None:
    assert found("lunch", ()) == []


def test_long_questions_are_looked_for_by_their_beginning_and_end() -> None:
    terms = [f"t{number}" for number in range(1000)]

    asked = asked_terms([*terms, *terms])

    assert len(asked) == MAX_TERMS
    assert (asked[0], asked[-1]) == ("t0", "t999")


words = st.lists(st.sampled_from(["tax", "form", "office", "lunch", "noon", "dog", "the"]), max_size=12)


@given(st.lists(words.map(" ".join), max_size=8), words.map(" ".join), st.integers(1, 5))
def test_what_is_found_shares_a_word_and_is_in_order(said: list[str], query: str, limit: int) -> None:
    results = searched(query, tuple(said), limit=limit)

    assert len(results) <= limit
    assert all({*terms_of(query)} & {*terms_of(said[each.place])} for each in results)
    scores = [each.score for each in results]
    assert scores == sorted(scores, reverse=True)
    assert all(score > 0 for score in scores)
