"""Faults that the fake model server can be told to commit, and when it is their turn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Self, TypeAlias

from tertulia.errors import (
    AnswerGone,
    ContextTooLong,
    ModelBusy,
    ModelMalformed,
    ModelRefused,
    ModelTimeout,
    ModelUnreachable,
    TertuliaError,
)
from tertulia.testing.fake.said import FAILURE, PLACE, Said, filler
from tertulia.testing.fake.sent import INVALID, failure, response

Kind: TypeAlias = Literal["call", "fetch", "embed", "converse"]
"""Asking for an answer, for one that is kept, or for vectors, or beginning, changing or deleting a
conversation."""


@dataclass(slots=True, kw_only=True)
class Fault:
    """One kind of fault, and how often it strikes."""

    kind: str
    times: int | None = 1
    """How often at most; ``None`` without end."""
    every: int = 1
    """Strikes every this many calls."""
    retry_after: float | None = None
    """What ``429`` and ``503`` ask for."""
    seconds: float = 1.0
    """How long ``slow`` takes, and every byte of ``drip``."""
    match: str = ""
    """Strikes only requests whose body, or whose path if they have none, holds this."""
    on: Kind = "call"
    """What it strikes: calls, the fetching of kept answers (``fetch``), and, with a status only,
    embeddings (``embed``) and what is done to conversations (``converse``)."""
    tokens: int | None = None
    """Pieces of an answer that ``cut`` and ``stall`` let through; ``None``: half of its bytes."""
    size: int = 10_000_000
    """Characters of ``huge``."""

    @classmethod
    def parse(cls, raw: Mapping[str, object]) -> Self:
        """Return a fault by its ``kind`` and settings; raises ``ValueError`` for what there is not."""
        kind = str(raw.get("kind"))
        if kind not in KINDS:
            raise ValueError(f"no fault {kind!r}; there are: {', '.join(sorted(KINDS))}")
        fault = cls(kind=kind)
        for name, value in {**_DEFAULTS.get(kind, {}), **raw}.items():
            if name not in cls.__slots__:
                raise ValueError(f"a fault has no setting {name!r}")
            setattr(fault, name, value)
        return fault

    @classmethod
    def of(cls, error: Exception) -> Self:
        """Return the fault that makes a client raise an error, or one like it."""
        kind = next((kind for leaf, kind in _BY_ERROR.items() if isinstance(error, leaf)), "500")
        wait = error.retry_after if isinstance(error, TertuliaError) else None
        return cls(kind=kind, retry_after=wait)

    def strikes(self, call: int, body: bytes) -> bool:
        """Whether it is this fault's turn; counts it if so. ``call`` counts from 1."""
        if self.times == 0 or call % self.every or self.match.encode() not in body:
            return False
        if self.times is not None:
            self.times -= 1
        return True

    def response(self) -> bytes | None:
        """Return the whole HTTP response of a fault that has one."""
        say = _RESPONSES.get(self.kind)
        return say(self) if say else None

    def said(self) -> Said | None:
        """Return what a fault has the model say that lies in the answer itself."""
        if self.kind == "huge":
            return Said(text=filler(0, self.size))
        return _SAID.get(self.kind)


_DIRTY: Final = b"nul \\u0000 and half a pair \\ud83d in it"
_HALF: Final = b"half a letter: \xc3"
_HTML: Final = b"text/html"
_EVENTS: Final = b"text/event-stream"
_DEFAULTS: Final[Mapping[str, Mapping[str, object]]] = {
    "no-background": {"match": '"background":true', "times": None},
    "no-store": {"match": '"store":true', "times": None},
    "no-stream-options": {"match": "stream_options", "times": None},
}
_BY_ERROR: Final[Mapping[type[Exception], str]] = {
    AnswerGone: "gone",
    ContextTooLong: "too-long",
    ModelBusy: "429",
    ModelMalformed: "malformed",
    ModelRefused: "400",
    ModelTimeout: "408",
    ModelUnreachable: "close",
}


def _status(
    status: int, kind: str, code: str | None = None, *, message: str = FAILURE
) -> Callable[[Fault], bytes]:
    def say(fault: Fault) -> bytes:
        headers = b"" if fault.retry_after is None else b"retry-after: %g\r\n" % fault.retry_after
        return response(status, failure(message, kind=kind, code=code), headers=headers)

    return say


def _ok(body: bytes, kind: bytes) -> Callable[[Fault], bytes]:
    return lambda _fault: response(200, body, kind=kind)


_RESPONSES: Final[Mapping[str, Callable[[Fault], bytes]]] = {
    "400": _status(400, INVALID),
    "401": _status(401, INVALID, "invalid_api_key"),
    "404": _status(404, INVALID, "model_not_found"),
    "408": _status(408, "timeout"),
    "429": _status(429, "requests", "rate_limit_exceeded"),
    "500": _status(500, "server_error"),
    "503": _status(503, "service_unavailable"),
    "garbage-sse": _ok(b"data: {this is\n\ndata: not JSON\n\n", _EVENTS),
    "malformed": _ok(b"<html>this is not an answer</html>", _HTML),
    "no-background": _status(400, INVALID, message="background mode is not supported"),
    "no-store": _status(400, INVALID, message="answers cannot be stored"),
    "no-stream-options": _status(400, INVALID, message="unknown: stream_options"),
    "quota": _status(429, "insufficient_quota", "insufficient_quota"),
    "too-long": _status(400, INVALID, "context_length_exceeded"),
}
_SAID: Final[Mapping[str, Said]] = {
    "bad-utf8": Said(text=PLACE, raw=_HALF),
    "empty": Said(is_nothing=True),
    "failed": Said(failure="server_error"),
    "nul": Said(text=PLACE, raw=_DIRTY),
    "refusal": Said(refusal="I cannot help with that."),
}
_ACTED: Final = ("close", "cut", "drip", "error-event", "gone", "hang", "huge", "plain", "slow", "stall")
KINDS: Final = frozenset({*_RESPONSES, *_SAID, *_ACTED})
"""All faults that there are.

====================  ==================================================================================
``400`` … ``503``     that status, in OpenAI's form; ``429`` and ``503`` may say when to come back
``quota``             429 for good; ``too-long``: 400 for a prompt that does not fit
``no-stream-options`` 400 for every request with ``stream_options``
``no-background``     400 for every request for background work; ``no-store``: for one to be kept
``malformed``         HTML instead of an answer; ``garbage-sse``: a stream of no JSON
``empty``             an answer without choices or output
``nul``               a NUL and half a surrogate pair in the text; ``bad-utf8``: half of a letter's bytes
``refusal``           the model declines; ``failed``: its answer is a failure
``error-event``       a stream of nothing but an error
``huge``              an answer of ``size`` characters
``slow``              nothing for ``seconds``, then the answer; ``drip``: a byte every ``seconds``
``hang``              nothing, for ever; ``stall``: nothing more after ``tokens`` pieces
``close``             the connection is closed without a word
``cut``               it is closed in the middle, or after ``tokens`` pieces
``plain``             one piece, although a stream was asked for
``gone``              everything kept is forgotten, then the call is answered as it must be then
====================  ==================================================================================
"""
