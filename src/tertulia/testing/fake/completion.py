"""OpenAI's older completions: an answer of the fake model in their form."""

from collections.abc import Iterator
from typing import Final

import orjson
from typing_extensions import override

from tertulia.testing.fake import checking
from tertulia.testing.fake.chat import DONE, usage
from tertulia.testing.fake.said import FAILURE, MODEL, Said, pieces
from tertulia.testing.fake.sent import failure
from tertulia.testing.fake.wire import Answer, Request

_KNOWN: Final = frozenset(
    """best_of echo frequency_penalty logit_bias logprobs max_tokens model n presence_penalty prompt seed stop
    stream stream_options suffix temperature top_p user""".split()  # noqa: SIM905  # words read better
)
_WORD: Final = b'"finish_reason":null'


def check_completion(request: Request) -> None:
    """Raise ``Wrong`` for what OpenAI's server would refuse."""
    checking.check_settings(request, known=_KNOWN, needed=("prompt",))
    if not isinstance(request["prompt"], list):
        checking.check_type(request["prompt"], "string", "prompt")


class CompletionAnswer(Answer):
    """What the model says, as a text completion or its pieces."""

    def __init__(self, said: Said, *, asked: int, wants_usage: bool = False) -> None:
        self._said, self._asked, self._wants_usage = said, asked, wants_usage

    @override
    def whole(self) -> bytes:
        said = self._said
        if said.failure:
            return failure(FAILURE, kind=said.failure)
        choices = [] if said.is_nothing else [_choice(said.text, self._ends)]
        return said.sent(orjson.dumps(_envelope(choices) | {"usage": usage(said, self._asked)}))

    @override
    def events(self, size: int) -> Iterator[bytes]:
        said = self._said
        if said.failure:
            yield self.broken()
            return
        for piece in pieces(said.text, size):
            yield said.sent(_event(_envelope([_choice(piece, None)])))
        yield _event(_envelope([] if said.is_nothing else [_choice("", self._ends)]))
        if self._wants_usage:
            yield _event(_envelope([]) | {"usage": usage(said, self._asked)})
        yield DONE

    @override
    def broken(self) -> bytes:
        return b"data: %s\n\n" % failure(FAILURE, kind="server_error")

    @override
    def is_word(self, event: bytes) -> bool:
        return _WORD in event

    @property
    def _ends(self) -> str:
        ends = self._said.ends
        return ends if ends in ("length", "content_filter") else "stop"


def _event(chunk: dict[str, object]) -> bytes:
    return b"data: %s\n\n" % orjson.dumps(chunk)


def _choice(text: str, ends: str | None) -> dict[str, object]:
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": ends}


def _envelope(choices: list[dict[str, object]]) -> dict[str, object]:
    named = {"id": "cmpl-fake", "object": "text_completion", "created": 1, "model": MODEL}
    return named | {"choices": choices}
