"""Terms: what a text is found by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.memory.knowledge.terms import MAX_TERM, terms_of


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Vacation VACATION vacations", ["vacation"] * 3),
        ("the employees\u2019 policies, in boxes", ["employee", "policy", "box"]),
        ("It doesn't, we'll see the boss's bus", ["see", "boss", "bus"]),
        ("25 days, 1,299 euros, on 2024-05-01", ["25", "day", "1299", "euro", "2024", "05", "01"]),
        ("user_name = foo.bar(x)", ["user", "name", "foo", "bar", "x"]),
        ("\uff26\uff55\uff4c\uff4c ﬁle Straße STRASSE", ["full", "file", "strasse", "strasse"]),
        ("东京塔", ["东京", "京塔"]),
        ("猫", ["猫"]),
        ("東京タワーは333m", ["東京", "京タ", "タワ", "ワー", "ーは", "333m"]),
        ("한국어 문서", ["한국", "국어", "문서"]),
        ("ภาษา", ["ภา", "าษ", "ษา"]),
        ("GPT-4を使う", ["gpt", "4", "を使", "使う"]),
        ("हिन्दी में।", ["हिन्दी", "में"]),
        ("مُحَمَّد", ["مُحَمَّد"]),
    ],
)
def test_text_is_found_by_its_words(text: str, terms: list[str]) -> None:
    assert terms_of(text) == terms


@pytest.mark.parametrize(
    "text", ["", "Thanks!", "Hello, how are you?", "OK, thank you very much", "... ?! 。", "—\n\t", "👍"]
)
def test_courtesies_have_no_terms(text: str) -> None:
    assert terms_of(text) == []


@given(st.text())
def test_terms_are_short_and_not_empty(text: str) -> None:
    terms = terms_of(text)

    assert all(0 < len(term) <= MAX_TERM for term in terms)
    assert len(terms) <= 20 * len(text)


@given(
    st.lists(st.sampled_from(["leave", "Leaves", "25", "tax", "東京", "한국", "ภาษา", "naïve"]), min_size=1)
)
def test_words_are_found_wherever_they_stand(words: list[str]) -> None:
    whole = terms_of("\n".join(words))

    assert whole == [term for word in words for term in terms_of(word)]


def test_question_and_answer_meet_in_any_script() -> None:
    for question, answer in [
        ("How many vacation days?", "Each employee has 25 days of vacations."),
        ("東京タワーの高さは。", "東京タワーは高さ333メートルです。"),
        ("请问退款政策", "退款政策:七天内可退。"),
        ("환불 정책", "환불은 정책에 따라"),
        ("นโยบายคืนเงิน", "เงินจะได้คืนตามนโยบาย"),
    ]:
        assert {*terms_of(question)} & {*terms_of(answer)}, question
