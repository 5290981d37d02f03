"""An answer put together from the events of a stream, or from one plain JSON object."""

from collections.abc import Mapping
from typing import Any, Final

from tertulia.errors import ModelMalformed, ModelRefused, ModelUnreachable
from tertulia.llms.base import Finished, FinishReason
from tertulia.llms.wire.calls import CallsHeard
from tertulia.llms.wire.costs import usage_of
from tertulia.llms.wire.failures import failure_within
from tertulia.llms.wire.speech import Speech, Told, check_size
from tertulia.llms.wire.sse import DONE, EventLines, decode
from tertulia.llms.wire.thoughts import parts_of, thought_beside
from tertulia.parts import Reasoning
from tertulia.usage import Usage

_REASONS: Final[Mapping[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
_JSON: Final = b"{"
_BOM: Final = b"\xef\xbb\xbf"
_NO_ANSWER: Final = "the model's provider sent something that is no answer"
_BESIDE_TEXT: Final = frozenset({"tool_calls", "function_call", "reasoning_content", "reasoning", "refusal"})


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
        self._speech, self._calls = Speech(), CallsHeard()
        self._plain: bytearray | None = None
        self._begun = self._declined = self._heard = False
        self.is_done = False
        """Whether the server has said that nothing more will come."""

    def feed(self, chunk: bytes) -> Told:
        """Take in bytes and return what they add to the reasoning and to the text.

        Raises an error of the ``ModelError`` family for what is no answer and for what carries an error.
        """
        if not self._begun:
            chunk = self._begin(chunk)
        if self._plain is not None:
            self._plain += chunk
            check_size(len(self._plain))
            return []
        return self._take(self._lines.feed(chunk))

    def end(self) -> Told:
        """Take note that no more bytes come, and return what this adds."""
        told = self._whole(bytes(self._plain)) if self._plain is not None else self._take(self._lines.rest())
        return told + self._speech.end()

    def finished(self) -> Finished:
        """Return the whole answer; raises if what was heard is none."""
        text, thought, calls = self._speech.text, self._speech.thought, self._calls.all()
        if self._reason is None and not (self.is_done and (text or calls)):
            raise self._why_unfinished()
        if self._declined and not (text or calls):
            raise ModelRefused("the model declined to answer")
        reason = self._reason or "unknown"
        return Finished(
            text=text,
            model=self._model,
            usage=self._usage,
            # Some servers say "stop" where the model wants to use tools.
            finish_reason="tool_calls" if calls and reason in {"stop", "unknown"} else reason,
            calls=calls,
            reasoning=(Reasoning(text=thought),) if thought else (),
        )

    def _begin(self, chunk: bytes) -> bytes:
        chunk = chunk.removeprefix(_BOM).lstrip()
        self._begun = bool(chunk)
        if chunk.startswith(_JSON):
            self._plain = bytearray()
        return chunk

    def _why_unfinished(self) -> ModelMalformed | ModelUnreachable:
        if (self._heard or self._speech.size) and not self.is_done:
            return ModelUnreachable("the model's answer was cut before its end")
        return ModelMalformed(_NO_ANSWER)

    def _take(self, payloads: list[bytes]) -> Told:
        said: list[str] = []
        thought: list[str] = []
        for payload in payloads:
            if payload == DONE:
                self.is_done = True
                break
            if payload:
                event = decode(payload)
                if text := _only_text(event):
                    said.append(text)
                else:
                    self._note(event, said, thought)
        return self._speech.hear("".join(said), "".join(thought)) if said or thought else []

    def _whole(self, plain: bytes) -> Told:
        said: list[str] = []
        thought: list[str] = []
        self._note(decode(plain), said, thought)
        self.is_done = True
        return self._speech.hear("".join(said), "".join(thought))

    def _note(self, event: object, said: list[str], thought: list[str]) -> None:
        if not isinstance(event, dict):
            raise ModelMalformed(_NO_ANSWER)
        if error := failure_within(event):
            raise error
        if usage := event.get("usage"):
            self._usage = usage_of(usage)
        if isinstance(model := event.get("model"), str) and model:
            self._model = model
        choices = event.get("choices")
        if choices:
            self._heard = True
            self._note_choice(choices, said, thought)

    def _note_choice(self, choices: object, said: list[str], thought: list[str]) -> None:
        try:
            choice = choices[0]  # type: ignore[index]  # any JSON may come; what does not fit is caught
            delta, reason = self._brought(choice), choice.get("finish_reason")
            self._declined = self._declined or bool(delta.get("refusal"))
        except (AttributeError, KeyError, TypeError, IndexError):
            raise ModelMalformed(_NO_ANSWER) from None
        text, thought_within = parts_of(delta.get("content"))
        said.append(text)
        thought.append(thought_beside(delta) or thought_within)
        self._note_calls(delta)
        if reason:
            self._reason = _REASONS.get(str(reason), "unknown")

    def _brought(self, choice: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a choice adds to the answer."""
        return choice.get("delta" if self._plain is None else "message") or {}

    def _note_calls(self, delta: Mapping[str, Any]) -> None:
        if calls := delta.get("tool_calls"):
            if self._plain is None:
                self._calls.hear(calls)
            else:
                self._calls.hear_whole(calls)
        elif call := delta.get("function_call"):
            self._calls.hear_function(call)
        check_size(self._speech.size + self._calls.size)


def _only_text(event: object) -> str | None:
    """Return the text of an event that brings nothing else, as nearly all do; ``None`` for the others."""
    try:
        choice = event["choices"][0]  # type: ignore[index]  # any JSON may come; what does not fit is caught
        delta = choice["delta"]
        text = delta["content"]
        is_last = choice["finish_reason"]
    except (LookupError, TypeError):
        return None
    if text.__class__ is not str or is_last or (len(delta) > 1 and not _BESIDE_TEXT.isdisjoint(delta)):
        return None
    return text
