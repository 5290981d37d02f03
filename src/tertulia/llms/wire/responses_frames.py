"""The bytes of one reply of the Responses API as JSON texts: the events of a stream, or one object."""

from typing import Final

from tertulia.errors import ModelMalformed
from tertulia.llms.wire.sse import EventLines

MAX_REPLY: Final = 40 * 1024 * 1024
"""Bytes of a plain reply, or of one event: the last of a stream holds all that was said once more."""

_JSON: Final = b"{"
_BOM: Final = b"\xef\xbb\xbf"


class Frames:
    """What has come of a reply that is not yet whole.

    Which of both it is shows in its first byte: content types cannot be relied on.
    """

    def __init__(self) -> None:
        self._lines = EventLines(longest=MAX_REPLY)
        self._object: bytearray | None = None
        self._has_begun = False

    @property
    def is_object(self) -> bool:
        """Whether it is one object, which :meth:`rest` gives, and no stream."""
        return self._object is not None

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the events that are whole with this chunk; raises ``ModelMalformed`` for a huge reply."""
        if not self._has_begun:
            chunk = chunk.removeprefix(_BOM).lstrip()
            self._has_begun = bool(chunk)
            if chunk.startswith(_JSON):
                self._object = bytearray()
        if self._object is None:
            return self._lines.feed(chunk)
        self._object += chunk
        if len(self._object) > MAX_REPLY:
            raise ModelMalformed("the model's answer is too long to be one")
        return []

    def rest(self) -> list[bytes]:
        """Return what the reply ended in: the object, or an event whose line lacked an end."""
        return self._lines.rest() if self._object is None else [bytes(self._object)]
