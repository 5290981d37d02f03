"""The rules of chat completions for what may be asked, as OpenAI documents them."""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_ID: Final = 40
_PARTS: Final[Mapping[str, Mapping[str, frozenset[str]]]] = {
    "text": {"text": frozenset()},
    "image_url": {"image_url": frozenset({"url"})},
    "input_audio": {"input_audio": frozenset({"data", "format"})},
    "file": {"file": frozenset({"filename", "file_data"})},
}


def check_body(body: bytes) -> dict[str, Any]:
    """Return a request's body, decoded; raises ``AssertionError`` for what OpenAI would refuse."""
    asked: dict[str, Any] = orjson.loads(body)
    assert isinstance(asked["model"], str)
    assert asked["messages"]
    waiting: list[str] = []
    for message in asked["messages"]:
        if message["role"] == "tool":
            _check_keys(message, {"role", "content", "tool_call_id"}, {"name"})
            assert isinstance(message["content"], str)
            waiting.remove(message["tool_call_id"])
            continue
        assert not waiting, "a call has no result"
        waiting = _check_message(message)
    assert not waiting, "a call has no result"
    _check_tools(asked)
    return asked


def _check_message(message: dict[str, Any]) -> list[str]:
    """Return the ids of the calls that must be answered next."""
    assert message["role"] in {"system", "user", "assistant"}
    may_call = {"tool_calls"} if message["role"] == "assistant" else set()
    _check_keys(message, {"role", "content"}, {"name"} | may_call)
    assert "name" not in message or _NAME.fullmatch(message["name"])
    calls = message.get("tool_calls")
    _check_content(message["content"], role=message["role"], may_lack=calls is not None)
    if calls is None:
        return []
    assert calls
    for call in calls:
        _check_call(call)
    ids = [call["id"] for call in calls]
    assert len(set(ids)) == len(ids)
    return ids


def _check_content(content: object, *, role: str, may_lack: bool) -> None:
    if isinstance(content, str) or (content is None and may_lack):
        return
    assert isinstance(content, list)
    assert content
    for part in content:
        assert role == "user" or part["type"] == "text"
        [(member, needed)] = _PARTS[part["type"]].items()
        _check_keys(part, {"type", member}, set())
        for name in needed:
            assert isinstance(part[member][name], str)
            assert part[member][name]


def _check_call(call: dict[str, Any]) -> None:
    _check_keys(call, {"id", "type", "function"}, set())
    assert 1 <= len(call["id"]) <= _MAX_ID
    assert call["type"] == "function"
    _check_keys(call["function"], {"name", "arguments"}, set())
    assert _NAME.fullmatch(call["function"]["name"])
    # Not OpenAI's own rule, but that of most servers that speak its wire.
    assert isinstance(orjson.loads(call["function"]["arguments"]), dict)


def _check_tools(asked: dict[str, Any]) -> None:
    if "tools" not in asked:
        return
    assert asked["tools"]
    for tool in asked["tools"]:
        assert tool["type"] == "function"
        _check_keys(tool["function"], {"name", "parameters"}, {"description"})
        assert _NAME.fullmatch(tool["function"]["name"])
        assert isinstance(tool["function"]["parameters"], dict)


def _check_keys(found: dict[str, Any], needed: set[str], allowed: set[str]) -> None:
    assert needed <= found.keys() <= needed | allowed, found
