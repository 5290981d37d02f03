"""Faults that the fake model server can be told to commit, and when it is their turn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from tertulia.testing import fake_answers as answers


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
    """How long ``slow`` takes."""
    match: str = ""
    """Strikes only requests whose body holds this."""

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

    def strikes(self, call: int, body: bytes) -> bool:
        """Whether it is this fault's turn; counts it if so. ``call`` counts from 1."""
        if self.times == 0 or call % self.every or self.match.encode() not in body:
            return False
        if self.times is not None:
            self.times -= 1
        return True

    def said(self) -> bytes | None:
        """Return the whole HTTP response of a fault that has one; ``None`` for those that act."""
        say = KINDS[self.kind]
        return say(self) if say else None


_MESSAGE: Final = "SECRET prompt of a user"
_DEFAULTS: Final[Mapping[str, Mapping[str, object]]] = {
    "no-stream-options": {"match": "stream_options", "times": None},
}


def _status(
    status: int, kind: str, code: str | None = None, *, message: str = _MESSAGE
) -> Callable[[Fault], bytes]:
    def say(fault: Fault) -> bytes:
        headers = b"" if fault.retry_after is None else b"retry-after: %g\r\n" % fault.retry_after
        body = answers.failure(message, kind=kind, code=code)
        return answers.response(status, body, headers=headers)

    return say


def _ok(body: bytes, kind: bytes) -> Callable[[Fault], bytes]:
    return lambda _fault: answers.response(200, body, kind=kind)


_HTML: Final = b"text/html"
_EVENTS: Final = b"text/event-stream"

KINDS: Final[Mapping[str, Callable[[Fault], bytes] | None]] = {
    "400": _status(400, "invalid_request_error"),
    "401": _status(401, "invalid_request_error", "invalid_api_key"),
    "404": _status(404, "invalid_request_error", "model_not_found"),
    "408": _status(408, "timeout"),
    "429": _status(429, "requests", "rate_limit_exceeded"),
    "500": _status(500, "server_error"),
    "503": _status(503, "service_unavailable"),
    "close": None,
    "cut": None,
    "empty": _ok(answers.no_choices(), b"application/json"),
    "error-event": _ok(b"data: " + answers.failure("SECRET", kind="server_error") + b"\n\n", _EVENTS),
    "garbage-sse": _ok(b"data: {this is\n\ndata: not JSON\n\n", _EVENTS),
    "hang": None,
    "malformed": _ok(b"<html>this is not an answer</html>", _HTML),
    "no-stream-options": _status(400, "invalid_request_error", message="unknown: stream_options"),
    "nul": None,
    "plain": None,
    "quota": _status(429, "insufficient_quota", "insufficient_quota"),
    "slow": None,
    "too-long": _status(400, "invalid_request_error", "context_length_exceeded"),
}
