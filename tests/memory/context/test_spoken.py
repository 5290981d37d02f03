"""What people plainly say about themselves: what is found, and above all what is not."""

import re
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.memory.context import spoken, spoken_words
from tertulia.memory.context.spoken import LONGEST, spoken_facts

FOUND: list[tuple[str, dict[str, str]]] = [
    ("My name is Ana.", {"name": "Ana"}),
    ("my name's Ana", {"name": "Ana"}),
    ("I'm Ana", {"name": "Ana"}),
    ("I\N{RIGHT SINGLE QUOTATION MARK}m Ana!", {"name": "Ana"}),
    ("Hi, I'm Ryan.", {"name": "Ryan"}),
    ("Hello, I am Mary-Jane O'Neill and I live in Cork.", {"name": "Mary-Jane O'Neill", "home": "Cork"}),
    ("Hi, my name is Ana María and I live in Madrid.", {"name": "Ana María", "home": "Madrid"}),
    ("Call me Bo", {"name": "Bo"}),
    ("You can call me Bo, please.", {"name": "Bo"}),
    ("My name is 安娜", {"name": "安娜"}),
    ("My name is Ana. Call me Annie.", {"name": "Annie"}),
    ("I live in Ulm, Germany.", {"home": "Ulm, Germany"}),
    ("I live in Trinidad and Tobago", {"home": "Trinidad and Tobago"}),
    ("I live in Ulm and work for Acme", {"home": "Ulm"}),
    ("i live in Frankfurt am Main right now", {"home": "Frankfurt am Main"}),
    ("I'm 30 years old, I like strong coffee", {"age": "30", "likes": "strong coffee"}),
    ("I work as a nurse.", {"work": "a nurse"}),
    ("I work for Acme", {"work": "Acme"}),
    ("I like jazz but I hate metal.", {"likes": "jazz", "dislikes": "metal"}),
    ("I like jazz and hate metal.", {"likes": "jazz"}),
    ("I like rock and roll", {"likes": "rock and roll"}),
    ("I really love hiking in the Alps!", {"likes": "hiking in the Alps"}),
    ("I don't like olives. I prefer tea", {"dislikes": "olives", "prefers": "tea"}),
    ("I am allergic to nuts, eggs and milk.", {"allergic to": "nuts, eggs and milk"}),
    ("My favorite colour is blue!", {"favourite colour": "blue"}),
    ("My favourite food is fish and chips", {"favourite food": "fish and chips"}),
    ("I think a lot, and I like tea.", {"likes": "tea"}),
    ("Hi Bot, I'm Ana, I live in Rome", {"name": "Ana", "home": "Rome"}),
    ("I like tea. My boss said: my name is Karl.", {"likes": "tea"}),
]

MISSED = [
    # What is denied, or taken back.
    "My name is not Ana.",
    "My name isn't Ana.",
    "My name is Not Important",
    "I no longer like jazz.",
    "I like jazz. Not!",
    "I don't like jazz, I love it.",
    "I like jazz, just kidding.",
    "I don't live in Ulm.",
    # What others say, or are asked to.
    "My boss said: my name is Karl.",
    "My boss said my name is Karl.",
    "She said my name is legion",
    'He told me "I live in Ulm" yesterday.',
    "They wrote:\nMy name is Karl.\nI live in Ulm.",
    "My boss said: hello. I live in Ulm. I like jazz.",
    "> I live in Ulm",
    "`I live in Ulm`",
    "My friend's name is Karl.",
    "Translate: I live in Ulm",
    "Translate this into Spanish. My name is Karl.",
    "Pretend that you are a pirate. My name is Jack.",
    "My mother thinks I like jazz.",
    "My mother thinks that I like jazz and I live in Ulm.",
    "They call me Ishmael.",
    "In the novel, I live in Narnia.",
    "As a pirate I like rum.",
    "I like jazz, he lied.",
    # What is asked, doubted, or a condition.
    "My name is Karl?",
    "I like jazz, what about you?",
    "If I win, I live in Monaco.",
    "Maybe I live in Ulm.",
    "I work for Acme until May.",
    # What belongs to more than was found.
    "I like jazz but hate metal",
    "I like everything but jazz",
    "I like tea or coffee",
    "I like jazz more than metal",
    "I like it when it rains.",
    "I love you.",
    "I like the way it rains.",
    "I like 50% of it",
    "My favourite part is over.",
    "I like your answer.",
    "I like that.",
    "I hate to bother you.",
    "My favourite band is Earth, Wind & Fire.",
    "My favourite colour is not blue.",
    "My name is J. R. Smith.",
    "I live in St. Louis.",
    # What only looks like a name, or a place.
    "I'm German",
    "I'm Irish.",
    "Hi, I'm German.",
    "I'm Sorry",
    "I'M LOST",
    "I'm Ana's mother.",
    "I am tired.",
    "Call me later.",
    "Call me Monday.",
    "Call me Dr. Smith",
    "My name is on the list.",
    "I live in fear.",
    "I live in a house.",
    "I work at night.",
    "I work as hard as I can",
    "I'm 30 years old at heart.",
    "I'm 999 years old",
    "",
    "What is the weather?",
]


@pytest.mark.parametrize(("said", "found"), FOUND)
def test_what_is_plainly_said_is_found(said: str, found: dict[str, str]) -> None:
    assert spoken_facts(said, {}) == found


@pytest.mark.parametrize("said", MISSED)
def test_nothing_is_learned_from_what_is_not_plainly_said(said: str) -> None:
    assert spoken_facts(said, {}) == {}


@pytest.mark.parametrize("module", [spoken, spoken_words])
def test_no_pattern_repeats_anything_without_a_limit(module: ModuleType) -> None:
    patterns = [each for each in vars(module).values() if isinstance(each, re.Pattern)]
    patterns += [pattern for _, pattern, _ in getattr(module, "_STATEMENTS", ())]

    assert patterns
    for pattern in patterns:
        assert not re.search(r"(?<!\\)[*+]|,\}", pattern.pattern), pattern.pattern


@pytest.mark.parametrize(
    "filling", ["\n", " ", ",", "i ", "and ", "not.", "I like ", "a" * 50, "Ana ", "'", "!"]
)
def test_only_the_beginning_of_a_text_is_looked_at(filling: str) -> None:
    long = filling * (2 * LONGEST)

    assert "name" not in spoken_facts(f"{long}\nMy name is Ana.", {})
    assert spoken_facts(f"My name is Ana.\n{long}", {}) == spoken_facts(f"My name is Ana.\n{long}{long}", {})


def test_a_sentence_that_is_cut_off_is_left_out() -> None:
    before = "\n" * (LONGEST - len("My name is Ana"))

    assert spoken_facts(f"{before}My name is Ana Bella.", {}) == {}


pieces = st.sampled_from(
    [
        "my name is ",
        "i'm ",
        "i like ",
        "i live in ",
        "and ",
        "but ",
        ", ",
        ". ",
        "\n",
        "Ana",
        "Ulm ",
        "not ",
        "'",
    ]
)


@given(st.lists(pieces | st.text(max_size=5), max_size=60).map("".join))
def test_whatever_is_said_facts_are_short_texts(said: str) -> None:
    found = spoken_facts(said, {})

    assert all(0 < len(value) <= 120 and "\n" not in value for value in found.values())
