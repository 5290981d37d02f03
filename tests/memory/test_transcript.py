from hypothesis import given
from hypothesis import strategies as st

from tertulia.llms.base import Prompt, Shown
from tertulia.llms.wire.body import Dialect, encode
from tertulia.memory.transcript import Transcript


def _shown(text: str) -> Shown:
    return Shown(role="user", text=text)


def test_passage_stays_what_it_was_when_the_transcript_goes_on() -> None:
    transcript = Transcript([_shown("one")])

    earlier = transcript.passage(opening=(_shown("zero"),))
    transcript.add(_shown("two"))

    assert [shown.text for shown in earlier] == ["zero", "one"]
    assert [shown.text for shown in transcript.passage()] == ["one", "two"]
    assert (len(earlier), earlier[-1].text, earlier[:1][0].text) == (2, "one", "zero")


def test_message_is_encoded_once_however_often_it_is_sent() -> None:
    transcript, encoded = Transcript([_shown("one")]), []

    def note(shown: Shown) -> bytes:
        encoded.append(shown.text)
        return shown.text.encode()

    for text in ("two", "three"):
        b",".join(transcript.passage().pieces("wire", note))
        transcript.add(_shown(text))
    sent = b",".join(transcript.passage().pieces("wire", note))

    assert sent == b"one,two,three"
    assert encoded == ["one", "two", "three"]


def test_piece_that_somebody_holds_does_not_keep_the_transcript_from_going_on() -> None:
    transcript = Transcript([_shown("one")])

    held = transcript.passage().pieces("wire", lambda shown: shown.text.encode())
    transcript.add(_shown("two"))
    sent = b",".join(transcript.passage().pieces("wire", lambda shown: shown.text.encode()))

    assert b",".join(held) == b"one"
    assert sent == b"one,two"


def test_wires_do_not_see_each_others_bytes() -> None:
    transcript = Transcript([_shown("one")])

    plain = b",".join(transcript.passage().pieces("plain", lambda shown: shown.text.encode()))
    loud = b",".join(transcript.passage().pieces("loud", lambda shown: shown.text.upper().encode()))

    assert (plain, loud) == (b"one", b"ONE")


@given(
    opening=st.lists(st.text(), max_size=3),
    texts=st.lists(st.text(), max_size=12),
    sent_after=st.sets(st.integers(0, 12)),
    drop=st.integers(0, 12),
)
def test_joined_prompt_is_byte_for_byte_the_one_that_is_built_at_once(
    opening: list[str], texts: list[str], sent_after: set[int], drop: int
) -> None:
    front = tuple(map(_shown, opening))
    transcript, passages = Transcript(), [Transcript().passage(opening=front)]

    for place, text in enumerate(texts):
        transcript.add(_shown(text))
        if place == drop:
            transcript = transcript.without_first(place // 2)
        if place in sent_after:
            passages.append(transcript.passage(opening=front))
            encode("m", Prompt(messages=passages[-1]), Dialect())

    for passage in [*passages, transcript.passage(opening=front)]:
        afresh = tuple(_shown(shown.text) for shown in passage)
        told = encode("m", Prompt(messages=passage), Dialect())
        assert told == encode("m", Prompt(messages=afresh), Dialect())
