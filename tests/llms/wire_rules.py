"""What the providers' documentation demands of a request, as functions that complain.

Each takes the body of a request and raises :class:`Refused` for what its provider would answer with
a status of 400. Where a documentation is silent on something that providers are known to refuse,
the stricter reading is taken.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

Body = Mapping[str, Any]

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SHORT_ID: Final = re.compile(r"[A-Za-z0-9]{9}")
_DATA_URL: Final = re.compile(r"data:([a-z]+/[a-z0-9.+-]+);base64,(.+)", re.DOTALL)
_MOST_CACHED: Final = 4
_COMMON_IMAGES: Final = {"image/png", "image/jpeg", "image/gif", "image/webp"}


class Refused(AssertionError):
    """The provider would not take this request."""


def demand(holds: object, what: str) -> None:
    if not holds:
        raise Refused(what)


def _bytes(text: str) -> None:
    try:
        demand(base64.b64decode(text, validate=True), "no bytes")
    except binascii.Error as error:
        raise Refused("no Base64") from error


def _visible(text: object, what: str) -> None:
    demand(isinstance(text, str) and text.strip(), f"{what} must hold something that can be seen")


def _known(body: Body, names: str) -> None:
    demand(not set(body) - set(names.split()), f"unknown: {sorted(set(body) - set(names.split()))}")


def _between(body: Body, name: str, least: float, most: float) -> None:
    demand(least <= body.get(name, least) <= most, f"{name} must lie between {least} and {most}")


# --- Anthropic: platform documentation, "Create a message" ----------------------------------------


def anthropic(body: Body) -> None:
    _known(
        body,
        "model messages max_tokens system stream temperature top_p top_k stop_sequences tools tool_choice"
        " thinking metadata output_config output_format betas cache_control",
    )
    demand(json.dumps(body).count('"cache_control"') <= _MOST_CACHED, "too many cache breakpoints")
    demand(body.get("max_tokens", 0) >= 1, "max_tokens is required")
    _between(body, "temperature", 0, 1)
    system = body.get("system")
    if isinstance(system, str):
        _visible(system, "system")
    messages = body["messages"]
    demand(messages and messages[0]["role"] == "user", "a user must speak first")
    demand(messages[-1]["role"] == "user", "this model does not support prefill")
    used: set[str] = set()
    waited_for: list[str] = []
    for message in messages:
        demand(message["role"] in {"user", "assistant"}, "no such role")
        blocks = message["content"]
        blocks = [{"type": "text", "text": blocks}] if isinstance(blocks, str) else blocks
        demand(blocks, "content must not be empty")
        answered = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        demand(sorted(answered) == sorted(waited_for), "tool_use without tool_result after it, or reversed")
        kinds = [block["type"] == "tool_result" for block in blocks]
        demand(kinds == sorted(kinds, reverse=True), "results must come first")
        waited_for = [block["id"] for block in blocks if block["type"] == "tool_use"]
        demand(not used & set(waited_for) and len(set(waited_for)) == len(waited_for), "ids must be unique")
        used |= set(waited_for)
        for place, block in enumerate(blocks):
            _ANTHROPIC[block["type"]](block, message["role"], place)
    demand(not used or body.get("tools"), "tools must be declared where they are used")
    for tool in body.get("tools", ()):
        demand(_NAME.fullmatch(tool["name"]), "a tool's name")
        demand(tool["input_schema"].get("type") == "object", "a tool takes an object")


def _anthropic_text(block: Body, _role: str, _place: int) -> None:
    _visible(block["text"], "text")


def _anthropic_media(block: Body, role: str, _place: int) -> None:
    demand(role == "user", "only users show something")
    source = block["source"]
    if source["type"] == "url":
        demand(source["url"].startswith(("https://", "http://")), "an address")
        return
    demand(source["type"] == "base64", "a source")
    known = _COMMON_IMAGES if block["type"] == "image" else {"application/pdf"}
    demand(source["media_type"] in known, f"no {source['media_type']} here")
    _bytes(source["data"])


def _anthropic_call(block: Body, role: str, _place: int) -> None:
    demand(role == "assistant" and _ID.fullmatch(block["id"]) and _NAME.fullmatch(block["name"]), "a call")
    demand(isinstance(block["input"], dict), "input must be an object")


def _anthropic_result(block: Body, role: str, _place: int) -> None:
    demand(role == "user", "results come from users")
    content = block.get("content", "")
    for item in content if isinstance(content, list) else ():
        _visible(item["text"], "a result")


def _anthropic_thought(block: Body, role: str, place: int) -> None:
    demand(role == "assistant" and place == 0 and block["signature"], "a thought is signed and comes first")


_ANTHROPIC: Final[Mapping[str, Callable[[Body, str, int], None]]] = {
    "text": _anthropic_text,
    "image": _anthropic_media,
    "document": _anthropic_media,
    "tool_use": _anthropic_call,
    "tool_result": _anthropic_result,
    "thinking": _anthropic_thought,
}


# --- Bedrock: reference of Converse ---------------------------------------------------------------

_BEDROCK_BLOCKS: Final = {
    "cachePoint",
    "text",
    "image",
    "document",
    "toolUse",
    "toolResult",
    "reasoningContent",
}


def bedrock(body: Body) -> None:
    _known(
        body,
        "messages system inferenceConfig toolConfig additionalModelRequestFields outputConfig"
        " additionalModelResponseFieldPaths performanceConfig requestMetadata serviceTier",
    )
    _between(body.get("inferenceConfig", {}), "temperature", 0, 1)
    demand(json.dumps(body).count('"cachePoint"') <= _MOST_CACHED, "too many cache points")
    for block in body.get("system", ()):
        demand("cachePoint" in block or block["text"].strip(), "an instruction")
    messages = body["messages"]
    demand(messages and messages[0]["role"] == messages[-1]["role"] == "user", "a user begins and ends")
    demand(all(one["role"] != other["role"] for one, other in pairwise(messages)), "roles must alternate")
    waited_for: list[str] = []
    seen: set[str] = set()
    for message in messages:
        blocks = message["content"]
        demand(blocks and "cachePoint" not in blocks[0], "content must not be empty")
        answered = [block["toolResult"]["toolUseId"] for block in blocks if "toolResult" in block]
        demand(sorted(answered) == sorted(waited_for), "toolUse without toolResult after it, or reversed")
        waited_for = [block["toolUse"]["toolUseId"] for block in blocks if "toolUse" in block]
        demand(not seen & set(waited_for) and len(set(waited_for)) == len(waited_for), "ids must be unique")
        demand(not waited_for or message["role"] == "assistant", "only assistants call")
        seen |= set(waited_for)
        for block in blocks:
            _bedrock_block(block)
    demand(not seen or body.get("toolConfig"), "toolConfig must be defined where tools are used")


def _bedrock_block(block: Body) -> None:
    ((kind, held),) = block.items()
    demand(kind in _BEDROCK_BLOCKS, f"no {kind} here")
    if kind == "text":
        _visible(held, "text")
    elif kind in {"image", "document"}:
        demand(held["format"] in {"png", "jpeg", "gif", "webp", "pdf"}, "a format")
        _bytes(held["source"]["bytes"])
    elif kind == "toolUse":
        demand(_ID.fullmatch(held["toolUseId"]) and isinstance(held["input"], dict), "a call")
    elif kind == "toolResult":
        for item in held["content"]:
            _visible(item["text"], "a result")


# --- Google: reference of generateContent ---------------------------------------------------------


def google(body: Body) -> None:
    _known(body, "contents systemInstruction tools toolConfig generationConfig safetySettings cachedContent")
    _between(body.get("generationConfig", {}), "temperature", 0, 2)
    for part in body.get("systemInstruction", {"parts": []})["parts"]:
        _visible(part["text"], "an instruction")
    contents = body["contents"]
    demand(contents and contents[0]["role"] == "user", "a user must speak first")
    demand(contents[-1]["role"] == "user", "a user must speak last")
    waited_for: list[str] = []
    for content in contents:
        demand(content["role"] in {"user", "model"} and content["parts"], "a role, and parts")
        answered = [
            part["functionResponse"]["name"] for part in content["parts"] if "functionResponse" in part
        ]
        demand(
            sorted(answered) == sorted(waited_for), "as many function responses as calls, right after them"
        )
        demand(not answered or len(answered) == len(content["parts"]), "responses stand for themselves")
        waited_for = [part["functionCall"]["name"] for part in content["parts"] if "functionCall" in part]
        for part in content["parts"]:
            _google_part(part, content["role"])
    for tool in body.get("tools", ()):
        for declared in tool["functionDeclarations"]:
            demand(_NAME.fullmatch(declared["name"]), "a function's name")


def _google_part(part: Body, role: str) -> None:
    held = set(part) - {"thought", "thoughtSignature"}
    demand(len(held) == 1, f"one thing in a part, not {sorted(part)}")
    if "text" in part:
        _visible(part["text"], "text")
    elif "inlineData" in part:
        demand(role == "user", "only users show something")
        _bytes(part["inlineData"]["data"].replace("-", "+").replace("_", "/"))
        # Protocol Buffers' JSON takes either spelling.
        demand("/" in (part["inlineData"].get("mimeType") or part["inlineData"]["mime_type"]), "a media type")
    elif "functionCall" in part:
        demand(role == "model" and isinstance(part["functionCall"]["args"], dict), "arguments are an object")
    else:
        demand(isinstance(part["functionResponse"]["response"], dict), "a response is an object")


# --- Cohere: reference of Chat, version 2 ---------------------------------------------------------


def cohere(body: Body) -> None:
    _known(
        body,
        "model messages stream tools tool_choice strict_tools response_format max_tokens stop_sequences"
        " temperature seed frequency_penalty presence_penalty k p thinking",
    )
    _between(body, "temperature", 0, 1)
    _between(body, "p", 0.01, 0.99)
    _between(body, "seed", 0, 2**64 - 1)
    _openai_like(body["messages"])
    for message in body["messages"]:
        content = message.get("content")
        for item in content if isinstance(content, list) else ():
            kinds = {"text", "thinking"} if message["role"] == "assistant" else {"text"}
            demand(item["type"] in kinds, f"no {item['type']} here")


# --- Mistral: reference of chat completions, and the order that its own validator wants -------------

_MAY_FOLLOW: Final[Mapping[str | None, set[str]]] = {
    None: {"system", "user"},
    "system": {"system", "user", "assistant"},
    "user": {"user", "assistant", "system"},
    "assistant": {"assistant", "user", "tool"},
    "tool": {"tool", "assistant"},
}


def mistral(body: Body) -> None:
    _known(
        body,
        "model messages stream temperature top_p max_tokens stop random_seed response_format tools"
        " tool_choice presence_penalty frequency_penalty n parallel_tool_calls reasoning_effort",
    )
    _between(body, "temperature", 0, 1.5)
    _between(body, "random_seed", 0, 2**63 - 1)
    before: str | None = None
    for message in body["messages"]:
        demand(message["role"] in _MAY_FOLLOW[before], f"{message['role']} after {before}")
        before = message["role"]
        for call in message.get("tool_calls") or ():
            demand(_SHORT_ID.fullmatch(call["id"]), "an id has nine letters and digits")
    _openai_like(body["messages"])


# --- Those whose wire is like OpenAI's --------------------------------------------------------------


def groq(body: Body) -> None:
    _known(
        body,
        "model messages stream stream_options temperature top_p max_completion_tokens max_tokens stop seed"
        " tools tool_choice parallel_tool_calls response_format reasoning_effort reasoning_format"
        " presence_penalty frequency_penalty n user service_tier",
    )
    _between(body, "temperature", 0, 2)
    is_shaped = body.get("response_format", {}).get("type") == "json_schema"
    demand(not is_shaped or not (body.get("stream") or body.get("tools")), "shapes only whole")
    _openai_like(body["messages"])


def huggingface(body: Body) -> None:
    _known(
        body,
        "model messages stream stream_options temperature top_p max_tokens stop seed tools tool_choice"
        " response_format presence_penalty frequency_penalty n logprobs",
    )
    _openai_like(body["messages"])
    spoken = [message["role"] for message in body["messages"] if message["role"] != "system"]
    twice = [one for one, other in pairwise(spoken) if one == other != "tool"]
    demand(not twice, "roles must alternate")


def _openai_like(messages: Sequence[Body]) -> None:
    demand(messages and messages[-1]["role"] in {"user", "tool"}, "a user or a tool must speak last")
    waited_for: list[str] = []
    seen: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            demand(message["tool_call_id"] in waited_for, "a result without its call")
            waited_for.remove(message["tool_call_id"])
            _visible_content(message["content"])
            continue
        demand(not waited_for, "a call without its result")
        calls = message.get("tool_calls") or []
        demand(message["role"] in {"system", "user", "assistant"}, "no such role")
        demand(message["role"] == "assistant" or not calls, "only assistants call")
        if message.get("content") or not calls:
            _visible_content(message.get("content"))
        for call in calls:
            demand(call["id"] not in seen and _ID.fullmatch(call["id"]), "an id of its own")
            demand(_NAME.fullmatch(call["function"]["name"]), "a function's name")
            demand(isinstance(json.loads(call["function"]["arguments"]), dict), "arguments are an object")
            seen.add(call["id"])
            waited_for.append(call["id"])
    demand(not waited_for, "a call without its result")


def _visible_content(content: object) -> None:
    if isinstance(content, str):
        _visible(content, "content")
        return
    demand(isinstance(content, list) and content, "content must not be empty")
    for item in content if isinstance(content, list) else ():
        if item["type"] == "text":
            _visible(item["text"], "text")
        elif item["type"] == "image_url":
            _picture(item["image_url"] if isinstance(item["image_url"], str) else item["image_url"]["url"])
        elif item["type"] == "document_url":
            _picture(item["document_url"])
        else:
            demand(item["type"] == "thinking", f"no {item['type']} here")


def _picture(url: str) -> None:
    if found := _DATA_URL.fullmatch(url):
        _bytes(found[2])
    else:
        demand(url.startswith(("https://", "http://")), "an address")


RULES: Final[Mapping[str, Callable[[Body], None]]] = {
    "anthropic": anthropic,
    "bedrock": bedrock,
    "cohere": cohere,
    "google": google,
    "groq": groq,
    "huggingface": huggingface,
    "mistral": mistral,
}
