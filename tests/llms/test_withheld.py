"""Media that a provider cannot be shown: refused while they are new, put in words ever after."""

import json
from collections.abc import Callable
from functools import partial
from typing import Final

import pytest

from tertulia.errors import ModelRefused
from tertulia.llms.base import Prompt, Shown
from tertulia.llms.wire import body, completion, responses_body
from tertulia.memory.transcript import Transcript
from tertulia.parts import Media, Text

Encode = Callable[[Prompt], bytes]

CHAT: Final = partial(body.encode, "m", dialect=body.Dialect())
OPENAI_CHAT: Final = partial(body.encode, "m", dialect=body.Dialect(is_openai=True))
RESPONSES: Final = partial(responses_body.encode, "m", dialect=responses_body.Dialect())
COMPLETIONS: Final = partial(completion.encode, "m", dialect=body.Dialect())

OGG: Final = Media(kind="audio", media_type="audio/ogg", base64="AAAA")
SOUND_ELSEWHERE: Final = Media(kind="audio", url="https://example.org/a.mp3")
PAPER_ELSEWHERE: Final = Media(kind="file", url="https://example.org/a.pdf", name="a.pdf")
PICTURE: Final = Media(kind="image", media_type="image/png", base64="AAAA")

WITHHELD: Final = [
    (OPENAI_CHAT, OGG, "[a recording that cannot be shown here]"),
    (CHAT, SOUND_ELSEWHERE, "[a recording that cannot be shown here]"),
    (CHAT, PAPER_ELSEWHERE, "[a file a.pdf that cannot be shown here]"),
    (RESPONSES, OGG, "[a recording that cannot be shown here]"),
    (RESPONSES, SOUND_ELSEWHERE, "[a recording that cannot be shown here]"),
    (COMPLETIONS, PICTURE, "[an image that cannot be shown here]"),
]


def sent(media: Media) -> Shown:
    return Shown(role="user", text="See", parts=(Text(text="See"), media))


@pytest.mark.parametrize(("encode", "media", "words"), WITHHELD)
def test_what_cannot_be_shown_is_refused_while_it_is_new(encode: Encode, media: Media, words: str) -> None:
    system = Shown(role="system", text="Be brief.")

    with pytest.raises(ModelRefused):
        encode(Prompt(messages=(Shown(role="assistant", text="Hello"), sent(media), system)))


@pytest.mark.parametrize(("encode", "media", "words"), WITHHELD)
def test_words_stand_in_for_it_ever_after(encode: Encode, media: Media, words: str) -> None:
    answered = (sent(media), Shown(role="assistant", text="Nice"), Shown(role="user", text="And now?"))

    assert words in json.dumps(json.loads(encode(Prompt(messages=answered))))


@pytest.mark.parametrize(("encode", "media", "words"), WITHHELD)
def test_a_refused_message_does_not_end_the_conversation(encode: Encode, media: Media, words: str) -> None:
    refused = sent(media)
    with pytest.raises(ModelRefused):
        encode(Prompt(messages=(refused,)))

    body = encode(Prompt(messages=(refused, Shown(role="user", text="In words, then"))))

    assert words in json.dumps(json.loads(body))


@pytest.mark.parametrize(("encode", "media", "words"), WITHHELD)
def test_the_words_are_the_same_whoever_encodes_them_and_when(
    encode: Encode, media: Media, words: str
) -> None:
    transcript = Transcript([sent(media), Shown(role="assistant", text="Nice")])
    asked = Shown(role="user", text="And now?")
    first = encode(Prompt(messages=transcript.passage().then((asked,))))

    again = encode(Prompt(messages=transcript.passage().then((asked,))))
    elsewhere = encode(Prompt(messages=(sent(media), Shown(role="assistant", text="Nice"), asked)))

    assert first == again == elsewhere


def test_a_message_is_encoded_for_each_server_as_that_hears_it() -> None:
    shown = (sent(OGG), Shown(role="assistant", text="Nice"), Shown(role="user", text="And now?"))

    for _ in range(2):
        assert "input_audio" in CHAT(Prompt(messages=shown)).decode()
        assert "input_audio" not in OPENAI_CHAT(Prompt(messages=shown)).decode()


def test_a_recording_that_openai_takes_is_sent_to_it() -> None:
    mp3 = Media(kind="audio", url="data:audio/mpeg;base64,AAAA")

    assert b'"format":"mp3"' in OPENAI_CHAT(Prompt(messages=(sent(mp3),)))
    assert b'"format":"mp3"' in RESPONSES(Prompt(messages=(sent(mp3),)))
