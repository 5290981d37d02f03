"""OpenAI's chat completions: an answer of the fake model in their form."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

import orjson
from typing_extensions import override

from tertulia.parts import ToolCall
from tertulia.testing.fake.said import FAILURE, MODEL, Said, pieces, tokens_of
from tertulia.testing.fake.sent import STREAM_END, STREAM_HEAD, failure, framed, response
from tertulia.testing.fake.wire import Answer

DONE: Final = b"data: [DONE]\n\n"
_WORDS: Final = b'"delta":{"content":"', b'"delta":{"reasoning_content":', b'"function":{"arguments":'


class ChatAnswer(Answer):
    """What the model says, as a chat completion or its chunks."""

    def __init__(self, said: Said, *, asked: int, wants_usage: bool = False) -> None:
        self._said, self._asked, self._wants_usage = said.named(), asked, wants_usage

    @override
    def whole(self) -> bytes:
        said = self._said
        if said.failure:
            return failure(FAILURE, kind=said.failure)
        choice = {"index": 0, "message": _message(said), "logprobs": None, "finish_reason": said.ends}
        choices = [] if said.is_nothing else [choice]
        found = _envelope("chat.completion") | {"choices": choices, "usage": usage(said, self._asked)}
        return said.sent(orjson.dumps(found))

    @override
    def events(self, size: int) -> Iterator[bytes]:
        said = self._said
        if said.failure:
            yield self.broken()
            return
        for event in _chunks(said, size):
            yield said.sent(event)
        if self._wants_usage:
            yield _usage_event(usage(said, self._asked))
        yield DONE

    @override
    def broken(self) -> bytes:
        return b"data: %s\n\n" % failure(FAILURE, kind="server_error")

    @override
    def is_word(self, event: bytes) -> bool:
        return any(mark in event for mark in _WORDS) and b'"content":""' not in event


def at_once(body: bytes, text: str, size: int) -> bytes:
    """Return the whole HTTP response that says a text, in the form that a request asks for.

    The short way for the most frequent of answers: nothing is parsed, and what was said before is
    remembered.
    """
    asked, said = len(body) // 4, tokens_of(text)
    cost = asked, said, asked + said
    if not (b'"stream":true' in body or b'"stream": true' in body):
        return response(200, _start(text) + _COST % cost)
    has_usage = b'"include_usage":true' in body or b'"include_usage": true' in body
    usage = _USAGE_START + _COST % cost + b"\n\n" if has_usage else b""
    return STREAM_HEAD + framed(_all_chunks(text, size) + usage + DONE) + STREAM_END


def usage(said: Said, asked: int) -> dict[str, object]:
    """Return what an answer cost."""
    return _cost(said.tokens, asked, thought=tokens_of(said.reasoning))


@lru_cache(maxsize=1024)
def _start(text: str) -> bytes:
    """Return a whole completion up to what it cost."""
    return _without_cost(ChatAnswer(Said(text=text), asked=0).whole())


def _without_cost(encoded: bytes) -> bytes:
    return encoded[: encoded.rindex(_COST_MARK)]


@lru_cache(maxsize=1024)
def _all_chunks(text: str, size: int) -> bytes:
    return b"".join(_chunks(Said(text=text), size))


def _chunks(said: Said, size: int) -> Iterator[bytes]:
    if said.is_nothing:
        yield b"data: %s\n\n" % orjson.dumps(_envelope("chat.completion.chunk") | {"choices": []})
        return
    yield _event({"role": "assistant", "content": None if said.calls and not said.text else ""})
    for name in ("reasoning_content", "content", "refusal"):
        text = {"reasoning_content": said.reasoning, "content": said.text, "refusal": said.refusal}[name]
        for piece in pieces(text, size):
            yield _event({name: piece})
    for index, call in enumerate(said.calls):
        yield _event({"tool_calls": [{"index": index, **_call(call, arguments="")}]})
        for piece in pieces(call.arguments, size):
            yield _event({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield _event({}, said.ends)


def _message(said: Said) -> dict[str, object]:
    says_nothing = not said.text and bool(said.calls or said.refusal)
    message: dict[str, object] = {
        "role": "assistant",
        "content": None if says_nothing else said.text,
        "refusal": said.refusal or None,
    }
    if said.reasoning:
        message["reasoning_content"] = said.reasoning
    if said.calls:
        message["tool_calls"] = [_call(call, arguments=call.arguments) for call in said.calls]
    return message


def _call(call: ToolCall, *, arguments: str) -> dict[str, object]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _event(delta: Mapping[str, object], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return b"data: %s\n\n" % orjson.dumps(_envelope("chat.completion.chunk") | {"choices": [choice]})


def _usage_event(cost: dict[str, object]) -> bytes:
    chunk = _envelope("chat.completion.chunk") | {"choices": [], "usage": cost}
    return b"data: %s\n\n" % orjson.dumps(chunk)


def _envelope(kind: str) -> dict[str, object]:
    return {"id": "chatcmpl-fake", "object": kind, "created": 1, "model": MODEL}


def _cost(said: int, asked: int, *, thought: int = 0) -> dict[str, object]:
    return {
        "prompt_tokens": asked,
        "completion_tokens": said,
        "total_tokens": asked + said,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }


_COST_MARK: Final = b'"prompt_tokens"'
_COST: Final = (
    b'"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":0},'
    b'"completion_tokens_details":{"reasoning_tokens":0}}}'
)
"""The end of every event that tells a cost."""
_USAGE_START: Final = _without_cost(_usage_event(_cost(0, 0)))
