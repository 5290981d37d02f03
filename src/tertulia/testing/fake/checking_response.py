"""What OpenAI's server refuses in a request for a Response."""

from collections.abc import Mapping
from typing import Any, Final

from tertulia.testing.fake import checking
from tertulia.testing.fake.keeping import Shelf
from tertulia.testing.fake.response import SEALED, Item
from tertulia.testing.fake.sent import Wrong
from tertulia.testing.fake.wire import JSON, Request

_KNOWN: Final = frozenset(
    """access_programs background context_management conversation image include input instructions
    max_output_tokens max_tool_calls metadata model moderation parallel_tool_calls previous_response_id prompt
    prompt_cache_key prompt_cache_options prompt_cache_retention reasoning safety_identifier service_tier
    store stream stream_options temperature text tool_choice tools top_logprobs top_p truncation
    user""".split()  # noqa: SIM905  # words read better
)
_ROLES: Final = ("assistant", "system", "developer", "user")
_KINDS: Final = ("message", "function_call", "function_call_output", "reasoning", "item_reference")
_PARTS: Final = {
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
    "input_image": "",
    "input_file": "",
    "input_audio": "input_audio",
}
_OURS: Final = frozenset({"output_text", "refusal"})


def check_response(request: Request) -> None:
    """Raise ``Wrong`` for what OpenAI's server would refuse in a request that stands alone."""
    checking.check_settings(request, known=_KNOWN, needed=("input",))
    if request.get("background") and request.get("store") is False:
        raise Wrong("Background mode requires 'store' to be true.", param="background")
    if request.get("conversation") and request.get("previous_response_id"):
        raise Wrong(
            "Mutually exclusive parameters. Ensure you are only providing one of: 'previous_response_id' or"
            " 'conversation'.",
            code="mutually_exclusive_parameters",
        )
    if request.get("instructions") is not None:
        checking.check_type(request["instructions"], "string", "instructions")
    _check_tools(request)
    _check_format(request.get("text"))
    if not isinstance(request["input"], str):
        checking.check_type(request["input"], "array", "input")
        for place, item in enumerate(request["input"]):
            _check_item(item, f"input[{place}]")


def check_items(items: list[Item], context: list[Item], shelf: Shelf) -> None:
    """Raise ``Wrong`` if the items of a request do not fit together, or to what was said before."""
    known = [*context, *items]
    called = {item.get("call_id") for item in known if item.get("type") == "function_call"}
    results = {item.get("call_id") for item in known if item.get("type") == "function_call_output"}
    for item in items:
        if item.get("type") == "function_call_output" and item["call_id"] not in called:
            raise Wrong(
                f"No tool call found for function call output with call_id {item['call_id']}.", param="input"
            )
    for item in known:
        if item.get("type") == "function_call" and item["call_id"] not in results:
            raise Wrong(f"No tool output found for function call {item['call_id']}.", param="input")
    _check_thoughts(items, known, shelf)


def _check_thoughts(items: list[Item], known: list[Item], shelf: Shelf) -> None:
    for place, item in enumerate(items):
        if item.get("type") == "reasoning":
            _check_thought(item, shelf)
            following = items[place + 1] if place + 1 < len(items) else {}
            if following.get("type") not in ("reasoning", "function_call") and not _is_ours(following):
                raise Wrong(
                    f"Item '{item['id']}' of type 'reasoning' was provided without its required following"
                    " item.",
                    param="input",
                )
        elif (needed := shelf.thought_before(item.get("id"))) and needed not in _ids(known):
            raise Wrong(
                f"Item '{item['id']}' of type '{item['type']}' was provided without its required 'reasoning'"
                f" item: '{needed}'.",
                param="input",
            )


def _check_thought(item: Item, shelf: Shelf) -> None:
    sealed = item.get("encrypted_content")
    if sealed is None and shelf.item(item.get("id")) is None:
        raise Wrong(
            f"Item with id '{item['id']}' not found. Items are not persisted when `store` is set to false."
            " Try again with `store` set to true, or remove this item from your input.",
            param="input",
            status=404,
        )
    if sealed is not None and not str(sealed).startswith(SEALED):
        raise Wrong(
            f"The encrypted content for item {item['id']} could not be verified.",
            code="invalid_encrypted_content",
        )


def _is_ours(item: Item) -> bool:
    return item.get("type") == "message" and item.get("role") == "assistant"


def _ids(items: list[Item]) -> set[object]:
    return {item.get("id") for item in items}


def _check_item(item: JSON, where: str) -> None:
    checking.check_type(item, "object", where)
    kind = item.get("type") or ("message" if "role" in item else "item_reference")
    checking.check_choice(kind, _KINDS, where)
    _NEEDED[kind](item, where)


def _check_message(item: Mapping[str, Any], where: str) -> None:
    checking.check_choice(item.get("role"), _ROLES, where)
    content = item.get("content")
    if content is None:
        raise checking.missing(f"{where}.content")
    if isinstance(content, str):
        return
    checking.check_type(content, "array", f"{where}.content")
    for place, part in enumerate(content):
        at = f"{where}.content[{place}]"
        checking.check_type(part, "object", at)
        kinds = [kind for kind in _PARTS if (kind in _OURS) == (item["role"] == "assistant")]
        checking.check_choice(part.get("type"), kinds, at)
        if (name := _PARTS[part["type"]]) and part.get(name) is None:
            raise checking.missing(f"{at}.{name}")


def _check_call(item: Mapping[str, Any], where: str) -> None:
    checking.check_name(item.get("name"), f"{where}.name")
    for name in ("call_id", "arguments"):
        if item.get(name) is None:
            raise checking.missing(f"{where}.{name}")
        checking.check_type(item[name], "string", f"{where}.{name}")
    _check_id(item, where, prefix="fc")


def _check_result(item: Mapping[str, Any], where: str) -> None:
    if not item.get("call_id"):
        raise checking.missing(f"{where}.call_id")
    if item.get("output") is None:
        raise checking.missing(f"{where}.output")
    if not isinstance(item["output"], list):
        checking.check_type(item["output"], "string", f"{where}.output")


def _check_reasoning(item: Mapping[str, Any], where: str) -> None:
    if not item.get("id"):
        raise checking.missing(f"{where}.id")
    if item.get("summary") is None:
        raise checking.missing(f"{where}.summary")
    _check_id(item, where, prefix="rs")


def _check_reference(item: Mapping[str, Any], where: str) -> None:
    if not item.get("id"):
        raise checking.missing(f"{where}.id")


def _check_id(item: Mapping[str, Any], where: str, *, prefix: str) -> None:
    if item.get("id") and not str(item["id"]).startswith(prefix):
        raise Wrong(
            f"Invalid '{where}.id': '{item['id']}'. Expected an ID that begins with '{prefix}'.",
            param=f"{where}.id",
            code="invalid_value",
        )


_NEEDED: Final = {
    "message": _check_message,
    "function_call": _check_call,
    "function_call_output": _check_result,
    "reasoning": _check_reasoning,
    "item_reference": _check_reference,
}


def _check_tools(request: Request) -> None:
    names = []
    checking.check_type(request.get("tools") or [], "array", "tools")
    for place, tool in enumerate(request.get("tools") or ()):
        where = f"tools[{place}]"
        checking.check_type(tool, "object", where)
        if not tool.get("type"):
            raise checking.missing(f"{where}.type")
        if tool["type"] == "function":
            checking.check_tool(tool, where)
            names.append(tool["name"])
    choice = request.get("tool_choice")
    named = choice.get("name", "") if isinstance(choice, Mapping) else None
    checking.check_tool_choice(choice, named, names)


def _check_format(given: object) -> None:
    if given is None:
        return
    checking.check_type(given, "object", "text")
    assert isinstance(given, Mapping)
    described = given.get("format")
    if described is None:
        return
    checking.check_choice(described.get("type"), ("json_object", "json_schema", "text"), "text.format.type")
    if described["type"] == "json_schema":
        checking.check_format(described, "response_format", "text.format")
