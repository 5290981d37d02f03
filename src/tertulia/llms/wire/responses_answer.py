"""An answer put together from the events of the Responses API, over one reply or several."""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from tertulia.errors import ModelError, ModelMalformed, ModelRefused, ModelUnreachable
from tertulia.llms.base import Begun, Finished, FinishReason, LLMEvent
from tertulia.llms.wire.responses_failures import failure_in
from tertulia.llms.wire.responses_frames import Frames
from tertulia.llms.wire.responses_output import JSONObject, Output, read_output, read_reason, read_usage
from tertulia.llms.wire.responses_speech import GAP, SpokenItems, joined
from tertulia.llms.wire.sse import DONE, decode
from tertulia.messages import clean_text
from tertulia.usage import Usage

MAX_ITEMS: Final = 80 * 1024 * 1024
"""Bytes of all events that bring a whole item."""

_UNDER_WAY: Final = frozenset({"queued", "in_progress"})
_OVER: Final = frozenset({"failed", "cancelled"})
_SIGNS: Final = frozenset({"error", "output", "status"})
_NO_ANSWER: Final = "the model's provider sent something that is no answer"


class ResponsesAnswer:
    """What has been heard of an answer so far.

    ``is_kept`` and ``works_alone`` say what its provider was asked for: to keep the answer, and to
    work on it even if we go away. Such an answer may go on with another reply where one was cut;
    ``goes_on_with`` is the id of one that an earlier call began, ``leans_on`` that of what it goes on
    from.
    """

    def __init__(
        self,
        model: str,
        *,
        is_kept: bool = False,
        works_alone: bool = False,
        goes_on_with: str | None = None,
        leans_on: str | None = None,
    ) -> None:
        self._model, self._leans_on = model, leans_on
        self._is_kept = is_kept or goes_on_with is not None
        self._works_alone = works_alone or goes_on_with is not None
        self._frames = Frames()
        self._speech = SpokenItems()
        self._items: list[object] = []
        self._output: Output | None = None
        self._reason: FinishReason = "unknown"
        self._usage = Usage(model_calls=1)
        self._items_size = 0
        self._known_to: int | None = None
        self._has_declined = self._has_heard = False
        self.external_id = goes_on_with
        self.position: int | None = None
        """Number of the newest event."""
        self.is_done = False
        """Whether nothing more will come."""
        self._failure: ModelError | None = None

    @property
    def goes_on(self) -> bool:
        """Whether its provider works on it, whatever became of the reply."""
        return self._works_alone and self.external_id is not None and not self.is_done

    @property
    def can_stream_on(self) -> bool:
        """Whether another stream would not say again what was heard: its events are numbered, or new."""
        return self.position is not None or self._speech.is_empty

    @property
    def is_looked_at(self) -> bool:
        """Whether the reply was no stream, but told only how far the answer is."""
        return self._frames.is_object

    def reopen(self) -> None:
        """Go on with another reply; what it says once more is passed over."""
        self._frames, self._known_to = Frames(), self.position

    def feed(self, chunk: bytes) -> list[LLMEvent]:
        """Take in bytes and return what they add.

        Raises an error of the ``ModelError`` family for what is no answer and for what carries an error;
        if the answer was begun with these same bytes, this is told, and :meth:`finished` raises it.
        """
        return self._take(self._frames.feed(chunk))

    def end(self) -> list[LLMEvent]:
        """Take note that no more bytes of this reply come, and return what this adds."""
        rest = self._frames.rest()
        if self._frames.is_object:
            return self._take_object(rest[0])
        try:
            return self._take(rest)
        except ModelMalformed:
            self._has_heard = True  # of an event that was cut
            return []

    def take(self, response: object) -> list[LLMEvent]:
        """Take in a whole response, which may still be under way, and return what it adds."""
        if not isinstance(response, dict) or not _SIGNS & response.keys():
            raise ModelMalformed(_NO_ANSWER)
        out: list[LLMEvent] = []
        if str(response.get("status")) in _UNDER_WAY:
            self._note_response({"response": response}, out)
        else:
            self._settle(response, out)
        return out

    def finished(self) -> Finished:
        """Return the whole answer; raises if what was heard is none."""
        if self._failure is not None:
            raise self._failure
        output = self._output
        if output is None:
            raise self._why_unfinished()
        is_empty = self._speech.is_empty and not output.calls
        if is_empty and (output.is_declined or self._has_declined):
            raise ModelRefused("the model declined to answer")
        return Finished(
            text=self._speech.text,
            model=self._model,
            usage=self._usage,
            finish_reason=self._reason,
            calls=output.calls,
            reasoning=output.reasoning,
            external_id=self.external_id if self._is_kept else None,
        )

    def _why_unfinished(self) -> ModelError:
        if self._has_heard:
            return ModelUnreachable("the model's answer was cut before its end")
        return ModelMalformed(_NO_ANSWER)

    def _take_object(self, payload: bytes) -> list[LLMEvent]:
        try:
            response = decode(payload)
        except ModelMalformed:
            if self.goes_on:  # it was cut, and can be asked for again
                return []
            raise
        return self.take(response)

    def _take(self, payloads: list[bytes]) -> list[LLMEvent]:
        out: list[LLMEvent] = []
        try:
            for payload in payloads:
                if self.is_done:
                    break
                if payload == DONE:
                    self._note_done(out)
                elif payload:
                    self._note(decode(payload), len(payload), out)
        except ModelError as error:
            # Words of an answer that failed are not told any more, but that it was begun is to be known.
            begun: list[LLMEvent] = [event for event in out if isinstance(event, Begun)]
            if not begun:
                raise
            self._failure, self.is_done = error, True
            return begun
        return joined(out)

    def _note(self, event: object, size: int, out: list[LLMEvent]) -> None:
        if not isinstance(event, dict):
            raise ModelMalformed(_NO_ANSWER)
        number = event.get("sequence_number")
        if isinstance(number, int):
            if self._known_to is not None and number <= self._known_to:
                return
            self.position = number
        kind = event.get("type")
        if kind == "response.output_item.done":
            self._items_size += size
            if self._items_size > MAX_ITEMS:
                raise ModelMalformed("the model's answer is too long to be one")
        note = _NOTES.get(str(kind))
        if note is not None:
            self._has_heard = True
            note(self, event, out)
        elif kind is None and event.get("error"):
            raise failure_in(event, self._leans_on)

    def _note_text(self, event: JSONObject, out: list[LLMEvent]) -> None:
        delta = event.get("delta")
        if not isinstance(delta, str):
            raise ModelMalformed("the model's provider sent something that is not text")
        self._speech.say(delta, out, place=event.get("output_index"))

    def _note_thought(self, event: JSONObject, out: list[LLMEvent]) -> None:
        delta = event.get("delta")
        if isinstance(delta, str):
            self._speech.think(delta, out)

    def _note_section(self, event: JSONObject, out: list[LLMEvent]) -> None:
        if event.get("summary_index"):
            self._speech.think(GAP, out)

    def _note_refusal(self, _event: JSONObject, _out: list[LLMEvent]) -> None:
        self._has_declined = True

    def _note_item(self, event: JSONObject, _out: list[LLMEvent]) -> None:
        self._items.append(event.get("item"))

    def _note_response(self, event: JSONObject, out: list[LLMEvent]) -> None:
        response = event.get("response")
        if not isinstance(response, dict):
            return
        self._has_heard = True
        self._works_alone = self._works_alone and response.get("background") is not False
        ident = response.get("id")
        if isinstance(ident, str) and ident and self.external_id is None:
            self.external_id = ident
            if self._works_alone:
                out.append(Begun(ident))

    def _note_end(self, event: JSONObject, out: list[LLMEvent]) -> None:
        response = event.get("response")
        if not isinstance(response, dict):
            raise ModelMalformed(_NO_ANSWER)
        self._settle(response, out)

    def _note_failure(self, event: JSONObject, _out: list[LLMEvent]) -> None:
        raise failure_in(event, self._leans_on)

    def _note_done(self, out: list[LLMEvent]) -> None:
        """Take note that a server said no more than that its stream has ended."""
        if self._items or not self._speech.is_empty:
            self._settle({}, out)
            self._reason = "unknown"
        self.is_done = True

    def _settle(self, response: JSONObject, out: list[LLMEvent]) -> None:
        if response.get("error") or str(response.get("status")) in _OVER:
            raise failure_in(response, self._leans_on)
        given = response.get("output")
        items = given if isinstance(given, list) and given else self._items
        if isinstance(ident := response.get("id"), str) and ident:
            self.external_id = ident
        if isinstance(model := response.get("model"), str) and model:
            self._model = clean_text(model)
        self._is_kept = self._is_kept and response.get("store") is not False
        output = read_output(items, is_kept=self._is_kept)
        self._speech.complete(output.text, out)
        self._reason, self._usage = read_reason(response, output), read_usage(response)
        if self._reason == "stop" and self._speech.is_empty and not (items or self._has_declined):
            raise ModelMalformed(_NO_ANSWER)
        self._output, self.is_done = output, True


_Note: TypeAlias = Callable[[ResponsesAnswer, JSONObject, list[LLMEvent]], None]
_NOTES: Final[Mapping[str, _Note]] = {
    "error": ResponsesAnswer._note_failure,
    "response.cancelled": ResponsesAnswer._note_end,
    "response.completed": ResponsesAnswer._note_end,
    "response.created": ResponsesAnswer._note_response,
    "response.failed": ResponsesAnswer._note_end,
    "response.in_progress": ResponsesAnswer._note_response,
    "response.incomplete": ResponsesAnswer._note_end,
    "response.output_item.done": ResponsesAnswer._note_item,
    "response.output_text.delta": ResponsesAnswer._note_text,
    "response.queued": ResponsesAnswer._note_response,
    "response.reasoning_summary_part.added": ResponsesAnswer._note_section,
    "response.reasoning_summary_text.delta": ResponsesAnswer._note_thought,
    "response.reasoning_text.delta": ResponsesAnswer._note_thought,
    "response.refusal.delta": ResponsesAnswer._note_refusal,
    "response.refusal.done": ResponsesAnswer._note_refusal,
}
