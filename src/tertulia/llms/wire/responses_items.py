"""Messages as the input items of the Responses API, encoded once."""

from dataclasses import replace
from typing import Final

import orjson

from tertulia.errors import ModelMalformed
from tertulia.llms.base import Prompt, Shown
from tertulia.llms.wire.content import arguments, wire_id, wire_name
from tertulia.llms.wire.sse import decode
from tertulia.llms.withheld import words_for
from tertulia.messages import clean_text
from tertulia.parts import Media, Part, Reasoning, Text, ToolCall, ToolResult

WIRE: Final = "openai-responses"
PROVIDER: Final = "openai"
"""Whose reasoning can be given back here."""

_REASONING: Final = "reasoning"
_NAMELESS: Final = "_"
_DATA: Final = "data:"
_SOUNDS: Final = {"audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/wav": "wav", "audio/x-wav": "wav"}


def encode_items(shown: Shown) -> bytes:
    """Return a message's items with commas between them, as they were encoded when first asked for.

    There is at least one. This wire has no field for a speaker's name, so that a user's stands before
    what they said. Words stand in for media that cannot be sent.
    """
    known = shown.wire.get(WIRE)
    if known is not None:
        return known
    # A copy: what orjson gives holds on to four kilobytes, however short it is, and this is kept.
    encoded = bytes(memoryview(b",".join(_dumped(item) for item in _items(shown))))
    shown.wire[WIRE] = encoded
    return encoded


def why_withheld(media: Media) -> str:
    """Return why media cannot be sent on this wire; nothing if they can."""
    if media.kind == "audio" and not all(_sound(media)):
        return "OpenAI takes recordings as WAV or MP3, and not from an address"
    return ""


def without_reasoning(prompt: Prompt) -> Prompt:
    """Return a prompt that gives no reasoning back; the same one if it gives none as it is."""
    if not any(isinstance(part, Reasoning) for shown in prompt.messages for part in shown.parts):
        return prompt
    return replace(prompt, messages=tuple(_unthought(shown) for shown in prompt.messages))


def _unthought(shown: Shown) -> Shown:
    kept = tuple(part for part in shown.parts if not isinstance(part, Reasoning))
    if len(kept) == len(shown.parts):
        return shown
    # Made anew, without what was noted of its encoded form.
    return Shown(role=shown.role, text=shown.text, name=shown.name, parts=kept)


def _items(shown: Shown) -> list[dict[str, object]]:
    if shown.role == "tool":
        results = [_output(part) for part in shown.parts if isinstance(part, ToolResult)]
        return results or [{"role": "user", "content": shown.text}]
    if shown.role == "assistant" and shown.parts:
        return _assistant_items(shown) or [_message(shown, "")]
    if any(isinstance(part, Media) for part in shown.parts):
        return [_message_with_media(shown)]
    return [_message(shown, shown.text)]


def _message(shown: Shown, text: str) -> dict[str, object]:
    return {"role": shown.role, "content": _speaker(shown) + text}


def _message_with_media(shown: Shown) -> dict[str, object]:
    speaker = Text(text=_speaker(shown))
    content = [block for part in (speaker, *shown.parts) if (block := _block(part))]
    return {"role": shown.role, "content": content}


def _speaker(shown: Shown) -> str:
    name = " ".join((shown.name or "").split()) if shown.role == "user" else ""
    return f"{name}: " if name else ""


def _assistant_items(shown: Shown) -> list[dict[str, object]]:
    """Return reasoning, words and calls in the order in which they came."""
    items: list[dict[str, object]] = []
    for part in shown.parts:
        if isinstance(part, ToolCall):
            items.append(_call(part))
        elif isinstance(part, Reasoning):
            items += _reasoning(part)
        elif isinstance(part, Text) and part.text:
            items.append(_message(shown, part.text))
    while items and items[-1].get("type") == _REASONING:
        items.pop()  # it is refused without what it led to
    return items


def _call(call: ToolCall) -> dict[str, object]:
    # Without the item's own id: a call that has one is refused without the reasoning it came with.
    return {
        "type": "function_call",
        "call_id": wire_id(call.id),
        "name": wire_name(call.name) or _NAMELESS,
        "arguments": arguments(call.arguments),
    }


def _output(result: ToolResult) -> dict[str, object]:
    return {"type": "function_call_output", "call_id": wire_id(result.call_id), "output": result.text}


def _reasoning(part: Reasoning) -> list[dict[str, object]]:
    if part.provider != PROVIDER or not part.opaque:
        return []
    try:
        item = decode(part.opaque.encode("utf-8", "replace"))
    except ModelMalformed:
        return []
    return [item] if isinstance(item, dict) and item.get("type") == _REASONING else []


def _block(part: Part) -> dict[str, object] | None:
    if isinstance(part, Text):
        return {"type": "input_text", "text": part.text} if part.text else None
    return _media(part) if isinstance(part, Media) else None


def _media(media: Media) -> dict[str, object]:
    if why_withheld(media):
        return {"type": "input_text", "text": words_for(media)}
    if media.kind == "image":
        return {"type": "input_image", "detail": "auto", "image_url": _address(media, "image/png")}
    if media.kind == "audio":
        base64, form = _sound(media)
        return {"type": "input_audio", "input_audio": {"data": base64, "format": form}}
    address = _address(media, "application/pdf")
    if not address.startswith(_DATA):
        return {"type": "input_file", "file_url": address}
    return {"type": "input_file", "filename": media.name or "document.pdf", "file_data": address}


def _sound(media: Media) -> tuple[str, str]:
    """Return a recording's bytes and their form, each empty if the wire cannot carry it."""
    kind, _, base64 = _address(media, "audio/wav").removeprefix(_DATA).partition(";base64,")
    return base64, _SOUNDS.get(kind, "")


def _address(media: Media, usual: str) -> str:
    """Return where media are to be found: its bytes, as an address, if it came as those."""
    if media.base64:
        return f"{_DATA}{media.media_type or usual};base64,{media.base64}"
    return media.url


def _dumped(item: dict[str, object]) -> bytes:
    try:
        return orjson.dumps(item)
    except orjson.JSONEncodeError:
        return orjson.dumps(_cleaned(item))


def _cleaned(value: object) -> object:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {name: _cleaned(inner) for name, inner in value.items()}
    return [_cleaned(inner) for inner in value] if isinstance(value, list) else value
