"""What context providers give for a run: put together, kept, and cut to its room."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.memory.context.base import RunContext
from tertulia.memory.tokens import IMAGE_TOKENS, MESSAGE_TOKENS, estimate
from tertulia.messages import Message
from tertulia.parts import Media
from tertulia.tools.functions import tool
from tertulia.turn.briefing import NOTHING, Briefing


@tool(is_idempotent=True)
def look() -> str:
    """Look."""
    return "seen"


def other() -> str:
    """Look, too."""
    return "seen"


words = st.lists(st.sampled_from(["", "word", "word " * 20, "文字 " * 9]), max_size=5)


def a_briefing(instructions: list[str], messages: list[str]) -> Briefing:
    ruling = [(f"ruling {place}", RunContext(instructions=text)) for place, text in enumerate(instructions)]
    return Briefing.of([*ruling, ("recalling", RunContext(messages=messages))])


def test_contexts_are_put_together_in_their_order() -> None:
    said = Message.from_dict({"role": "assistant", "content": "b"})
    contexts = [
        ("first", RunContext(instructions="1", messages=["a", said], tools=[look])),
        ("silent", RunContext(instructions=" \n")),
        ("second", RunContext(instructions="2", messages=["c"], tools=[other])),
    ]

    briefing = Briefing.of(contexts)

    assert briefing.instructions == ("1", "2")
    assert [(shown.role, shown.text) for shown in briefing.shown] == [
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
    ]
    assert list(briefing.tools) == ["look", "other"]
    assert briefing.has_tools
    assert briefing.names == ("first", "second")


def test_of_tools_with_one_name_the_first_is_taken_and_the_others_are_named() -> None:
    def impostor() -> str:
        """Look elsewhere."""
        return "not seen"

    same = tool(name="look")(impostor)

    briefing = Briefing.of(
        [
            ("first", RunContext(tools=[look])),
            ("second", RunContext(tools=[other, same])),
            ("third", RunContext(tools=[same])),
        ]
    )

    assert list(briefing.tools) == ["look", "other"]
    assert briefing.tools["look"] is look
    assert briefing.doubles == (("second", "look"), ("third", "look"))


def test_nothing_is_nothing() -> None:
    assert Briefing.of([]) == Briefing.of([("silent", RunContext())]) == NOTHING
    assert Briefing.of_kept(None) is None
    assert Briefing.of_kept('{"text": "an answer without a briefing"}') is None


@given(instructions=words, messages=words)
def test_briefing_is_the_same_after_it_was_kept(instructions: list[str], messages: list[str]) -> None:
    briefing = a_briefing(instructions, messages)

    kept = orjson.dumps({"briefing": briefing.kept()}).decode()

    assert Briefing.of_kept(kept) == briefing


def test_that_there_were_tools_is_kept_and_not_the_tools() -> None:
    kept = orjson.dumps({"briefing": Briefing.of([("one", RunContext(tools=[look]))]).kept()}).decode()

    found = Briefing.of_kept(kept)

    assert found is not None
    assert (found.has_tools, found.tools) == (True, {})


@given(instructions=words, messages=words, room=st.integers(0, 200))
def test_what_is_left_fits_and_only_what_does_not_is_left_out(
    instructions: list[str], messages: list[str], room: int
) -> None:
    whole = a_briefing(instructions, messages)

    cut, left_out = whole.within(room)

    taken, left = sizes(cut), room
    for text, size in sizes(whole):  # in this order, since what comes first has the room first
        if taken[:1] == [(text, size)]:
            left -= taken.pop(0)[1]
            assert left >= 0
        else:
            left_out -= 1
            assert size > left
    assert taken == []
    assert left_out == 0


def sizes(briefing: Briefing) -> list[tuple[str, int]]:
    """Return all that a briefing says, and the tokens that each text takes."""
    ruled = [(text, estimate(text)) for text in briefing.instructions]
    return ruled + [(shown.text, estimate(shown.text) + MESSAGE_TOKENS) for shown in briefing.shown]


def test_image_takes_its_room() -> None:
    seen = Media(kind="image", media_type="image/png", base64="aGk=")
    image = Message(id="msg_1", role="user", content=(seen,))
    whole = Briefing.of([("seeing", RunContext(messages=[image, "Fact.", image]))])

    cut, left_out = whole.within(IMAGE_TOKENS + 20)

    assert [bool(shown.parts) for shown in cut.shown] == [True, False]
    assert left_out == 1


def test_text_that_is_too_long_does_not_cost_the_small_ones_behind_it() -> None:
    whole = a_briefing(["Rule 1.", "rule " * 100, "Rule 2."], ["Fact 1.", "fact " * 100, "Fact 2."])

    cut, left_out = whole.within(60)

    assert cut.instructions == ("Rule 1.", "Rule 2.")
    assert [shown.text for shown in cut.shown] == ["Fact 1.", "Fact 2."]
    assert left_out == 2


@pytest.mark.parametrize("messages", [[], ["word " * 100]])
def test_tools_stay_when_texts_are_left_out(messages: list[str]) -> None:
    briefing = Briefing.of([("one", RunContext(messages=messages, tools=[look]))])

    cut, left_out = briefing.within(10)

    assert left_out == len(messages)
    assert (cut.has_tools, list(cut.tools)) == (True, ["look"])
