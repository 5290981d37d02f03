"""Responses and streams of HTTP as bytes."""

from typing import Final

import orjson

STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
STREAM_END: Final = b"0\r\n\r\n"
INVALID: Final = "invalid_request_error"


class Wrong(Exception):
    """A request that is refused; its text is what the client is told."""

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400
    ) -> None:
        super().__init__(message)
        self._param, self._code, self._status = param, code, status

    def response(self) -> bytes:
        """Return the refusal as an HTTP response."""
        return response(self._status, failure(str(self), code=self._code, param=self._param))


def response(status: int, body: bytes, *, headers: bytes = b"", kind: bytes = b"application/json") -> bytes:
    """Return a whole HTTP response."""
    head = b"HTTP/1.1 %d Fake\r\ncontent-type: %s\r\ncontent-length: %d\r\n%s\r\n"
    return head % (status, kind, len(body), headers) + body


def framed(piece: bytes) -> bytes:
    """Return a piece of a body as HTTP's chunked form wants it."""
    return b"%x\r\n%s\r\n" % (len(piece), piece)


def failure(message: str, *, kind: str = INVALID, code: str | None = None, param: str | None = None) -> bytes:
    """Return an error object as OpenAI sends it."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})
