"""The completions wire: a text that a model goes on with, and what it adds."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from typing_extensions import override

from tertulia.errors import ModelRefused
from tertulia.llms.aside import with_aside
from tertulia.llms.base import Prompt, Shown
from tertulia.llms.wire.answer import Answer
from tertulia.llms.wire.body import Dialect
from tertulia.llms.withheld import refuse_new_media, words_for
from tertulia.messages import clean_text
from tertulia.parts import Media, ToolCall, ToolResult

USUAL_TOKENS: Final = 1024
"""How long an answer may get, if nothing else was said: the API's own sixteen tokens are no answer."""
MAX_STOPS: Final = 4

_SPEAKERS: Final = {"user": "User", "assistant": "Assistant", "tool": "Tool", "system": ""}
_NOT_IN_LABELS: Final = re.compile(r"[\s:]+")
_NOT_HERE: Final = frozenset({"reasoning_effort"})


def encode(model: str, prompt: Prompt, dialect: Dialect) -> bytes:
    """Return the request's body; raises ``ModelRefused`` for new media, and for tools that may be called."""
    if prompt.tools and prompt.may_call:
        raise ModelRefused("completions know no tools: choose a model behind openai-chat or openai")
    refuse_new_media(prompt.messages, _why_withheld)
    text, stops = _written(tuple(with_aside(prompt).messages))
    settings = prompt.settings.sampling()
    body = {"model": model, "prompt": clean_text(text), "max_tokens": USUAL_TOKENS}
    body |= {name: value for name, value in settings.items() if name not in _NOT_HERE}
    if ends := (*settings.get("stop", ()), *map(clean_text, stops))[:MAX_STOPS]:
        body["stop"] = ends
    if prompt.wants_deltas:
        body["stream"] = True
        if dialect.counts_usage:
            body["stream_options"] = {"include_usage": True}
    return orjson.dumps(body)


class Continuation(Answer):
    """An answer that is what a model added to a text; the blanks that it begins with are left out."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self._has_begun = False

    @override
    def _brought(self, choice: Mapping[str, Any]) -> Mapping[str, Any]:
        text = choice.get("text")
        if not self._has_begun and isinstance(text, str):
            text = text.lstrip()
            self._has_begun = bool(text)
        return {"content": text}


def _why_withheld(_media: Media) -> str:
    return "completions take nothing but text: choose a model behind openai-chat or openai"


def _written(messages: Sequence[Shown]) -> tuple[str, list[str]]:
    """Return the text to go on with, and what would begin somebody else's words."""
    if len(messages) == 1 and messages[0].role == "user" and not messages[0].name:
        return messages[0].text, []
    own = next((_label(shown) for shown in reversed(messages) if shown.role == "assistant"), "Assistant")
    others = [_label(shown) for shown in reversed(messages) if shown.role == "user"]
    lines = [line for shown in messages if (line := _line(shown))]
    text = "\n\n".join((*lines, f"{own}:"))
    return text, [f"\n{label}:" for label in dict.fromkeys((*others, "User")) if label != own]


def _line(shown: Shown) -> str:
    """Return what a message adds to a transcript; nothing if it only calls tools."""
    results = [part.text for part in shown.parts if isinstance(part, ToolResult)]
    withheld = [words_for(part) for part in shown.parts if isinstance(part, Media)]
    text = "\n".join(results or (shown.text, *withheld)).strip()
    label = _label(shown)
    if not text and any(isinstance(part, ToolCall) for part in shown.parts):
        return ""
    return f"{label}: {text}" if label else text


def _label(shown: Shown) -> str:
    """Return a speaker's name as a transcript writes it, on one line and without a colon."""
    if shown.role == "system":
        return ""
    return _NOT_IN_LABELS.sub(" ", shown.name or "").strip() or _SPEAKERS[shown.role]
