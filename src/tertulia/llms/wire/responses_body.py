"""The body of a request to the Responses API, joined from items that are encoded once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import orjson
from typing_extensions import Buffer

from tertulia.agent_settings import ModelSettings
from tertulia.definitions import ToolSpec
from tertulia.llms.base import Joinable, Prompt, Shown
from tertulia.llms.wire.body import SCHEMA_NAME
from tertulia.llms.wire.responses_items import WIRE, encode_items, why_withheld
from tertulia.llms.wire.tool_list import encode_tools, parameters
from tertulia.llms.withheld import refuse_new_media
from tertulia.messages import clean_text

Skill: TypeAlias = Literal["working_alone", "keeping", "encrypting", "summing_up"]
"""What not every model or server can do: work on even if we go away, keep an answer, give its
reasoning back to us encrypted, tell its reasoning in short."""

LEAST_TOKENS: Final = 16
"""The least that the API lets an answer be limited to."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between the models and servers of this wire."""

    lacks: frozenset[Skill] = frozenset()

    def without(self, skill: Skill) -> "Dialect":
        """Return the dialect of one that cannot do this either."""
        return Dialect(self.lacks | {skill})

    def also(self, other: "Dialect") -> "Dialect":
        """Return the dialect of one that lacks what either of these lacks."""
        return Dialect(self.lacks | other.lacks)

    def works_alone(self, settings: ModelSettings) -> bool:
        """Whether an answer is to be worked on by the provider even if we go away."""
        return bool(settings.background) and not self.lacks & {"keeping", "working_alone"}

    def keeps(self, prompt: Prompt) -> bool:
        """Whether the provider is to keep the answer; it does where it kept what came before."""
        is_asked = prompt.settings.store or self.works_alone(prompt.settings) or prompt.leans_on is not None
        return bool(is_asked) and "keeping" not in self.lacks

    def used(self, prompt: Prompt) -> frozenset[Skill]:
        """Return what a prompt asks for of that which could be lacking."""
        asked: set[Skill] = set()
        if self.works_alone(prompt.settings):
            asked.add("working_alone")
        if self.keeps(prompt):
            asked.add("keeping")
        elif _may_reason(prompt):
            asked.add("encrypting")
        if prompt.settings.reasoning_effort not in {None, "none"}:
            asked.add("summing_up")
        return frozenset(asked - self.lacks)


def encode(model: str, prompt: Prompt, dialect: Dialect) -> bytes:
    """Return the request's body; of a long history only what is new is worked on.

    System messages stay where they stand, as items: the beginning of what the model reads is the same
    from turn to turn, and an answer that follows a kept one needs not be told them again: the provider
    adds all that it is sent to what it keeps. Only an aside goes as ``instructions``: the model reads
    them before all else, and the provider carries them over to no other answer. The stop sequences, the
    seed and the penalties of a prompt's settings are left out, as this API has none, and ``max_tokens``
    is never less than it takes. Raises :class:`~tertulia.errors.ModelRefused` for newly sent media that
    cannot be sent.
    """
    refuse_new_media(prompt.messages, why_withheld)
    head = b'{"model":%s,"input":[' % orjson.dumps(model)
    parts: list[Buffer] = [head]
    for place, piece in enumerate(_pieces(prompt.messages)):
        parts += (b",", piece) if place else (piece,)
    rest = orjson.dumps(_rest(prompt, dialect), default=dict)
    tools = encode_tools(prompt.tools, _tool, may_call=prompt.may_call)
    return b"".join((*parts, b"],", rest[1:-1], tools, b"}"))


def _pieces(messages: Sequence[Shown]) -> list[Buffer]:
    if isinstance(messages, Joinable):
        return messages.pieces(WIRE, encode_items)
    return [encode_items(shown) for shown in messages]


def _rest(prompt: Prompt, dialect: Dialect) -> dict[str, Any]:
    """Return all fields of the body but the model and its input."""
    settings, used = prompt.settings, dialect.used(prompt)
    works_alone = dialect.works_alone(settings)
    fields: dict[str, Any] = {"store": "keeping" in used}
    if prompt.aside:
        fields["instructions"] = clean_text(prompt.aside)
    if works_alone:
        fields["background"] = True
    if prompt.wants_deltas or works_alone:
        fields["stream"] = True
    if prompt.within is not None:
        fields["conversation"] = prompt.within
    elif prompt.follows is not None:
        fields["previous_response_id"] = prompt.follows
    if "encrypting" in used:
        fields["include"] = ["reasoning.encrypted_content"]
    if prompt.response_schema is not None:
        fields["text"] = {"format": _format(prompt)}
    return fields | _sampling(settings, summary="summing_up" in used)


def _sampling(settings: ModelSettings, *, summary: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if settings.max_tokens is not None:
        fields["max_output_tokens"] = max(settings.max_tokens, LEAST_TOKENS)
    if settings.temperature is not None:
        fields["temperature"] = settings.temperature
    if settings.top_p is not None:
        fields["top_p"] = settings.top_p
    if settings.reasoning_effort is not None:
        told = {"summary": "auto"} if summary else {}
        fields["reasoning"] = {"effort": settings.reasoning_effort} | told
    return fields


def _may_reason(prompt: Prompt) -> bool:
    """Whether there may be reasoning that has to be given back to the model."""
    effort = prompt.settings.reasoning_effort
    return effort != "none" and (effort is not None or bool(prompt.tools))


def _tool(spec: ToolSpec) -> dict[str, Any]:
    return {"type": "function", **parameters(spec), "strict": False}


def _format(prompt: Prompt) -> dict[str, Any]:
    return {"type": "json_schema", "name": SCHEMA_NAME, "schema": prompt.response_schema, "strict": False}
