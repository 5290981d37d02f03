"""Chunks cover their text in order, and end where it hurts least."""

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tertulia.memory.knowledge.chunking import LITTLE, OVERLAP, TOKENS, WHOLE, chunks_of, spans_of
from tertulia.memory.tokens import estimate

SENTENCE = "The kitchen opens at noon and closes at nine in the evening. "


texts = st.lists(
    st.sampled_from(
        [
            SENTENCE,
            "Ja! ",
            "word ",
            "\n",
            "\n\n",
            "```python\n",
            "```\n",
            "x = 1\n",
            "| a | b |\n",
            "東京は日本の首都です。",
            "a" * 300,
            "Numbers: 1, 2, 3; ",
            "\t",
            "👩‍🍳",
        ]
    )
    | st.text(max_size=20),
    max_size=120,
).map("".join)


@given(texts)
def test_chunks_cover_their_text_in_order(text: str) -> None:
    spans = spans_of(text)

    assert all(first < second for first, second in pairwise(spans))
    reached = 0
    for start, end in spans:
        assert not text[reached:start].strip()
        assert estimate(text[start:reached]) <= OVERLAP
        reached = max(reached, end)
    assert not text[reached:].strip()


@given(texts)
def test_chunks_are_short_and_never_empty(text: str) -> None:
    chunks = chunks_of(text)

    assert all(chunk == chunk.strip() != "" for chunk in chunks)
    assert all(estimate(chunk) <= WHOLE + max(OVERLAP, LITTLE) for chunk in chunks)
    assert bool(chunks) == bool(text.strip())


def test_short_text_is_one_chunk() -> None:
    assert chunks_of("One.\n\nTwo.\n") == ["One.\n\nTwo."]
    assert chunks_of(" \n\n\t") == []


def test_prose_is_cut_after_sentences_and_the_last_one_is_said_again() -> None:
    sentences = [f"Sentence number {number} says where the spoons of the house are." for number in range(60)]
    text = " ".join(sentences)

    chunks = chunks_of(text)

    assert len(chunks) > 2
    for chunk, following in pairwise(chunks):
        assert chunk.endswith("are.")
        last = chunk.rpartition("Sentence")[2]
        assert following.startswith(f"Sentence{last}")
    assert all(estimate(chunk) <= TOKENS + OVERLAP for chunk in chunks)


def test_paragraphs_are_kept_whole_where_they_fit() -> None:
    paragraphs = [SENTENCE * 8 for _ in range(4)]

    chunks = chunks_of("\n\n".join(paragraphs))

    assert all(paragraph.strip() in "\n".join(chunks) for paragraph in paragraphs)
    assert all(any(paragraph.strip() in chunk for chunk in chunks) for paragraph in paragraphs)


def test_table_is_kept_whole() -> None:
    table = "| dish | price |\n|---|---|\n" + "".join(f"| Dish {n} | {n} |\n" for n in range(40))
    text = f"{SENTENCE * 12}\n\n{table}\n{SENTENCE}"

    chunks = chunks_of(text)

    assert estimate(table) > TOKENS
    assert any(table.strip() in chunk for chunk in chunks)


def test_heading_stays_with_what_it_is_above() -> None:
    code = "```sh\n" + "make bench\n" * 60 + "```"

    for below in (code, SENTENCE * 13, f"{SENTENCE * 6}\n\n{SENTENCE * 9}"):
        first, *_ = chunks_of(f"## Measure it yourself\n\n{below}")

        assert first.startswith(f"## Measure it yourself\n\n{below[:100]}")


def test_long_table_is_cut_between_its_rows() -> None:
    rows = [f"| Dish number {n}. Very good. | {n} |" for n in range(200)]

    chunks = chunks_of("\n".join(rows))

    assert [row for chunk in chunks for row in chunk.splitlines()] == rows


def test_code_is_kept_whole_with_its_empty_lines() -> None:
    code = "```python\n" + "def f():\n\n    return 1\n\n" * 12 + "```"
    text = f"{SENTENCE * 10}\n\n{code}\n\nAfterwards.\n"

    chunks = chunks_of(text)

    assert any(code in chunk for chunk in chunks)


def test_text_without_spaces_is_cut_at_its_sentences() -> None:
    text = "東京タワーは高さ三百三十三メートルです。" * 40

    chunks = chunks_of(text)

    assert len(chunks) > 3
    assert all(chunk.endswith("。") and estimate(chunk) <= TOKENS + OVERLAP + 5 for chunk in chunks)


def test_what_has_no_place_to_cut_is_cut_nevertheless() -> None:
    text = "x" * 10_000

    chunks = chunks_of(text)

    assert "".join(chunks) == text
    assert all(estimate(chunk) <= TOKENS for chunk in chunks)


def test_strange_texts_do_not_take_long() -> None:
    strange = [
        '."' * 100_000,
        "." * 200_000,
        " " * 200_000 + "x",
        "`" * 200_000,
        "|" * 200_000,
        "\n" * 200_000,
    ]

    for text in strange:
        chunks = chunks_of(text)

        assert bool(chunks) == bool(text.strip())
        assert re.sub(r"\s", "", "".join(chunks)).count("x") == text.count("x")
