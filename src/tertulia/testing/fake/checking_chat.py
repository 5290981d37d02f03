"""What OpenAI's server refuses in a request for a chat completion."""

import re
from collections.abc import Mapping
from typing import Any, Final

from tertulia.testing.fake import checking
from tertulia.testing.fake.sent import Wrong
from tertulia.testing.fake.wire import Request

_KNOWN: Final = frozenset(
    """audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens
    messages metadata modalities model moderation n parallel_tool_calls prediction presence_penalty
    prompt_cache_key prompt_cache_options prompt_cache_retention reasoning_effort response_format
    safety_identifier seed service_tier stop store stream stream_options temperature tool_choice tools
    top_logprobs top_p user verbosity web_search_options""".split()  # noqa: SIM905  # words read better
)
_ROLES: Final = ("system", "assistant", "user", "function", "tool", "developer")
_PLAIN: Final = frozenset({"system", "user", "developer"})
_SPEAKERS: Final = _PLAIN | {"assistant"}
_USUAL: Final = frozenset({"model", "messages", "stream", "stream_options"})
_PARTS: Final = ("text", "image_url", "input_audio", "file", "refusal")
_NAME: Final = re.compile(r"[^\s<|\\/>]+")
_MOST_STOPS: Final = 4


def check_chat(request: Request) -> None:
    """Raise ``Wrong`` for what OpenAI's server would refuse."""
    if request.keys() <= _USUAL and _is_usual(request):
        return
    checking.check_settings(request, known=_KNOWN, needed=("messages",))
    checking.check_not_empty(request["messages"], "messages")
    _check_settings(request)
    _check_tools(request)
    _check_format(request.get("response_format"))
    _check_messages(request["messages"])


def _is_usual(request: Request) -> bool:
    """Whether a request of the most frequent kind is sound, found out in less time than all else takes."""
    messages = request.get("messages")
    is_fitting = request.get("stream", "stream_options" not in request) is True
    if not (is_fitting and request.get("model") and isinstance(messages, list)):
        return False
    for message in messages:
        is_short = message.__class__ is dict and len(message) == 2
        if not (is_short and message.get("role") in _SPEAKERS and message.get("content").__class__ is str):
            return False
    return bool(messages)


def _check_settings(request: Request) -> None:
    if request.get("stream_options") is not None and not request.get("stream"):
        raise Wrong(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    if request.get("max_tokens") and request.get("max_completion_tokens"):
        raise Wrong(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            param="max_tokens",
            code="invalid_parameter_combination",
        )
    stop = request.get("stop")
    if isinstance(stop, list) and len(stop) > _MOST_STOPS:
        raise Wrong(
            f"Invalid 'stop': array too long. Expected an array with maximum length {_MOST_STOPS},"
            f" but got an array with length {len(stop)} instead.",
            param="stop",
            code="array_above_max_length",
        )


def _check_tools(request: Request) -> None:
    tools = request.get("tools")
    if tools is not None:
        checking.check_not_empty(tools, "tools")
    names = []
    for place, tool in enumerate(tools or ()):
        where = f"tools[{place}]"
        checking.check_type(tool, "object", where)
        checking.check_choice(tool.get("type"), ("function", "custom"), f"{where}.type")
        described = tool.get(tool["type"])
        if not isinstance(described, Mapping):
            raise checking.missing(f"{where}.{tool['type']}")
        checking.check_tool(described, f"{where}.{tool['type']}")
        names.append(described["name"])
    choice = request.get("tool_choice")
    named = (choice.get("function") or {}).get("name", "") if isinstance(choice, Mapping) else None
    checking.check_tool_choice(choice, named, names)


def _check_format(given: object) -> None:
    if given is None:
        return
    checking.check_type(given, "object", "response_format")
    assert isinstance(given, Mapping)
    checking.check_choice(given.get("type"), ("json_object", "json_schema", "text"), "response_format.type")
    if given["type"] == "json_schema":
        described = given.get("json_schema")
        if not isinstance(described, Mapping):
            raise checking.missing("response_format.json_schema")
        checking.check_format(described, "response_format", "response_format.json_schema")


def _check_messages(messages: list[Any]) -> None:
    # Calls whose results are still to come, in order.
    owed: list[str] = []
    for place, message in enumerate(messages):
        checking.check_type(message, "object", f"messages[{place}]")
        role = message.get("role")
        checking.check_choice(role, _ROLES, f"messages[{place}].role")
        if role == "tool":
            _check_result(message, owed, place)
            continue
        if owed:
            raise _unanswered(owed, place)
        if message.get("name") is not None:
            _check_name(message["name"], f"messages[{place}].name")
        if role == "assistant":
            owed = _check_assistant(message, place)
        elif role in _PLAIN:
            _check_content(message.get("content"), place)
    if owed:
        raise _unanswered(owed, len(messages))


def _check_name(name: object, param: str) -> None:
    checking.check_type(name, "string", param)
    if not _NAME.fullmatch(str(name)):
        raise checking.mismatched(param, r"^[^\s<|\\/>]+$")
    checking.check_length(str(name), 64, param)


def _check_result(message: Mapping[str, Any], owed: list[str], place: int) -> None:
    if not message.get("tool_call_id"):
        raise checking.missing(f"messages[{place}].tool_call_id")
    if message["tool_call_id"] not in owed:
        raise Wrong(
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with"
            " 'tool_calls'.",
            param=f"messages.[{place}].role",
        )
    owed.remove(message["tool_call_id"])
    _check_content(message.get("content"), place)


def _check_assistant(message: Mapping[str, Any], place: int) -> list[str]:
    """Return the ids of the calls that the message makes."""
    calls, where = message.get("tool_calls"), f"messages[{place}].tool_calls"
    if calls is None:
        if message.get("content") is None and not message.get("refusal"):
            _check_content(None, place)
        return []
    checking.check_not_empty(calls, where)
    for number, call in enumerate(calls):
        if not call.get("id"):
            raise checking.missing(f"{where}[{number}].id")
        checking.check_choice(call.get("type"), ("function", "custom"), f"{where}[{number}].type")
        function = call.get("function") or {}
        checking.check_name(function.get("name"), f"{where}[{number}].function.name")
        if function.get("arguments") is None:
            raise checking.missing(f"{where}[{number}].function.arguments")
        checking.check_type(function["arguments"], "string", f"{where}[{number}].function.arguments")
    return [call["id"] for call in calls]


def _check_content(content: object, place: int) -> None:
    if isinstance(content, str):
        return
    where = f"messages[{place}].content"
    if content is None:
        raise Wrong("Invalid value for 'content': expected a string, got null.", param=where)
    checking.check_not_empty(content, where)
    assert isinstance(content, list)
    for number, part in enumerate(content):
        checking.check_type(part, "object", f"{where}[{number}]")
        checking.check_choice(part.get("type"), _PARTS, f"{where}[{number}].type")
        if part.get(part["type"]) is None:
            raise checking.missing(f"{where}[{number}].{part['type']}")


def _unanswered(owed: list[str], place: int) -> Wrong:
    return Wrong(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each"
        f" 'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(owed)}",
        param=f"messages.[{place}].role",
    )
