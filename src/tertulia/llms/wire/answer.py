"""An answer put together from the events of a stream, or from one plain JSON object."""

from typing import Final

from tertulia.conversations import Usage
from tertulia.errors import ModelMalformed, ModelRefused, ModelUnreachable
from tertulia.llms.base import Finished, FinishReason
from tertulia.llms.wire.failures import failure_within
from tertulia.llms.wire.sse import DONE, CleanText, EventLines, decode

MAX_ANSWER: Final = 20 * 1024 * 1024

_MAX_COUNT: Final = 2**53
"""Tokens beyond which a count is no count."""
_REASONS: Final[dict[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
_JSON: Final = b"{"
_BOM: Final = b"\xef\xbb\xbf"


class Answer:
    """What has been heard of an answer so far.

    Whether it comes as events or as one plain object is told from its first byte: some servers
    answer plainly although a stream was asked for, and content types cannot be relied on.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._usage = Usage(model_calls=1)
        self._reason: FinishReason | None = None
        self._lines = EventLines()
        self._clean = CleanText()
        self._texts: list[str] = []
        self._plain: bytearray | None = None
        self._size = 0
        self._begun = self._declined = self._heard = False
        self.is_done = False
        """Whether the server has said that nothing more will come."""

    def feed(self, chunk: bytes) -> str:
        """Take in bytes and return the text that they add, or ``""``.

        Raises an error of the ``ModelError`` family for what is no answer and for what carries an error.
        """
        if not self._begun:
            chunk = self._begin(chunk)
        if self._plain is not None:
            self._plain += chunk
            _check_size(len(self._plain))
            return ""
        return self._take(self._lines.feed(chunk))

    def end(self) -> str:
        """Take note that no more bytes come, and return the text that this adds."""
        said = self._whole() if self._plain is not None else self._take(self._lines.rest())
        return said + self._keep(self._clean.rest())

    def finished(self) -> Finished:
        """Return the whole answer; raises if what was heard is none."""
        if self._reason is None and not (self.is_done and self._texts):
            raise self._why_unfinished()
        if self._declined and not self._texts:
            raise ModelRefused("the model declined to answer")
        return Finished(
            text="".join(self._texts),
            model=self._model,
            usage=self._usage,
            finish_reason=self._reason or "unknown",
        )

    def _begin(self, chunk: bytes) -> bytes:
        chunk = chunk.removeprefix(_BOM).lstrip()
        self._begun = bool(chunk)
        if chunk.startswith(_JSON):
            self._plain = bytearray()
        return chunk

    def _why_unfinished(self) -> ModelMalformed | ModelUnreachable:
        if (self._heard or self._texts) and not self.is_done:
            return ModelUnreachable("the model's answer was cut before its end")
        return ModelMalformed("the model's provider sent something that is no answer")

    def _take(self, payloads: list[bytes]) -> str:
        said: list[str] = []
        for payload in payloads:
            if payload == DONE:
                self.is_done = True
                break
            if payload:
                event = decode(payload)
                if text := _only_text(event):
                    said.append(text)
                else:
                    self._note(event, "delta", said)
        return self._keep(self._clean.feed("".join(said))) if said else ""

    def _whole(self) -> str:
        said: list[str] = []
        self._note(decode(bytes(self._plain or b"")), "message", said)
        self.is_done = True
        return self._keep(self._clean.feed("".join(said)))

    def _keep(self, text: str) -> str:
        if text:
            self._texts.append(text)
            self._size += len(text)
            _check_size(self._size)
        return text

    def _note(self, event: object, part: str, said: list[str]) -> None:
        if not isinstance(event, dict):
            raise ModelMalformed("the model's provider sent something that is no answer")
        if error := failure_within(event):
            raise error
        if usage := event.get("usage"):
            self._usage = _usage(usage)
        if isinstance(model := event.get("model"), str) and model:
            self._model = model
        choices = event.get("choices")
        if choices:
            self._heard = True
            self._note_choice(choices, part, said)

    def _note_choice(self, choices: object, part: str, said: list[str]) -> None:
        try:
            choice = choices[0]  # type: ignore[index]  # any JSON may come; what does not fit is caught
            delta = choice.get(part) or {}
            text, reason = delta.get("content"), choice.get("finish_reason")
            self._declined = self._declined or bool(delta.get("refusal"))
        except (AttributeError, KeyError, TypeError, IndexError):
            raise ModelMalformed("the model's provider sent something that is no answer") from None
        if isinstance(text, str):
            said.append(text)
        elif text is not None:
            raise ModelMalformed("the model's provider sent something that is not text")
        if reason:
            self._reason = _REASONS.get(str(reason), "unknown")


def _only_text(event: object) -> str | None:
    """Return the text of an event that brings nothing else, as nearly all do; ``None`` for the others."""
    try:
        choice = event["choices"][0]  # type: ignore[index]  # any JSON may come; what does not fit is caught
        text = choice["delta"]["content"]
        is_last = choice["finish_reason"]
    except (LookupError, TypeError):
        return None
    return text if text.__class__ is str and not is_last else None


def _check_size(size: int) -> None:
    if size > MAX_ANSWER:
        raise ModelMalformed("the model's answer is too long to be one")


def _usage(found: object) -> Usage:
    if not isinstance(found, dict):
        return Usage(model_calls=1)
    details = found.get("prompt_tokens_details")
    return Usage(
        input_tokens=_count(found, "prompt_tokens"),
        output_tokens=_count(found, "completion_tokens"),
        cached_tokens=_count(details, "cached_tokens") if isinstance(details, dict) else 0,
        model_calls=1,
    )


def _count(found: dict[str, object], name: str) -> int:
    count = found.get(name)
    return min(count, _MAX_COUNT) if isinstance(count, int) and count > 0 else 0
