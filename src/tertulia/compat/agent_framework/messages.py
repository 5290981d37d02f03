"""Chat messages by their older name, and what they are among ours."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, TypeAlias

import orjson
from typing_extensions import override

from tertulia.errors import InvalidInput
from tertulia.messages import Message
from tertulia.parts import Part, Text

_OURS: Final = "tertulia"
"""Under which a message's additional properties hold what the older form has no place for."""
_FURTHER: Final = ("created_at", "flags", "run_id", "turn")


class Role(StrEnum):
    """Who says something; equal to its text."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class ChatMessage:
    """One thing said in a thread."""

    def __init__(
        self,
        role: Role | str,
        contents: Sequence[Part | str] | None = None,
        *,
        text: str | None = None,
        author_name: str | None = None,
        message_id: str | None = None,
        additional_properties: Mapping[str, Any] | None = None,
    ) -> None:
        """Say ``text``, ``contents`` (texts and parts of :mod:`tertulia.parts`), or both after each other.

        Raises :class:`~tertulia.errors.InvalidInput` for a role that there is not.
        """
        try:
            self.role = Role(role)
        except ValueError:
            raise InvalidInput(f"there is no role {str(role)[:40]!r}: say one of {', '.join(Role)}") from None
        given: list[Part | str] = [*([] if text is None else [text]), *(contents or ())]
        self.contents: list[Part] = [Text(text=each) if isinstance(each, str) else each for each in given]
        self.author_name, self.message_id = author_name, message_id
        self.additional_properties: dict[str, Any] = dict(additional_properties or {})

    @property
    def text(self) -> str:
        """All text of the message."""
        return "".join(part.text for part in self.contents if isinstance(part, Text))

    def to_dict(self) -> dict[str, Any]:
        """Return the message as JSON values."""
        named = {
            "author_name": self.author_name,
            "message_id": self.message_id,
            "additional_properties": self.additional_properties,
        }
        said = Message(id="", role=self.role.value, content=tuple(self.contents))
        return {
            "type": "chat_message",
            "role": self.role.value,
            "contents": said.to_dict()["content"],
            **{name: value for name, value in named.items() if value},
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> "ChatMessage":
        """Return the message that :meth:`to_dict` told, or the older framework's did.

        Raises :class:`~tertulia.errors.InvalidInput` for what is no message.
        """
        role, contents = kept.get("role"), kept.get("contents") or []
        if isinstance(role, Mapping):
            role = role.get("value")
        if not isinstance(role, str) or not isinstance(contents, list):
            raise InvalidInput('a chat message is an object with a "role" and "contents"')
        parts = [_known(part) for part in contents]
        return cls(
            role,
            Message.from_dict({"role": role, "content": parts}).content,
            text=kept.get("text"),
            author_name=kept.get("author_name"),
            message_id=kept.get("message_id"),
            additional_properties=kept.get("additional_properties"),
        )

    @override
    def __str__(self) -> str:
        return self.text

    @override
    def __repr__(self) -> str:
        return f"ChatMessage({self.role.value!r}, text={self.text!r})"

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, ChatMessage) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # it can be changed


Said: TypeAlias = str | ChatMessage | Sequence[str | ChatMessage]
"""What is said to an agent: one message, or several, of which the last is answered."""


def said_in(given: Said) -> list[ChatMessage]:
    """Return what is said as a list of messages; texts are the user's. Raises ``InvalidInput`` for none."""
    several = [given] if isinstance(given, str | ChatMessage) else list(given)
    if not several:
        raise InvalidInput("say something: a text, a message, or a list of them")
    return [ChatMessage(Role.USER, text=each) if isinstance(each, str) else each for each in several]


def message_of(given: ChatMessage) -> Message:
    """Return a chat message as one of ours; it gets an id if it has none."""
    further = given.additional_properties.get(_OURS)
    told: dict[str, Any] = {"role": given.role.value, "content": given.to_dict()["contents"]}
    if given.author_name is not None:
        told["author"] = given.author_name
    if given.message_id:
        told["id"] = given.message_id
    if isinstance(further, Mapping):
        told |= {name: further[name] for name in _FURTHER if name in further}
    return Message.from_dict(told)


def chat_message_of(message: Message) -> ChatMessage:
    """Return a message of ours under its older name."""
    told = message.to_dict()
    further = {name: told[name] for name in _FURTHER if name in told}
    return ChatMessage(
        message.role,
        message.content,
        author_name=message.author,
        message_id=message.id,
        additional_properties={_OURS: further} if further else None,
    )


def plain(value: object, *, what: str) -> Any:  # noqa: ANN401  # JSON
    """Return JSON values, with chat messages among them told as :meth:`ChatMessage.to_dict` does.

    Raises :class:`~tertulia.errors.InvalidInput`, which names ``what`` it is, if it cannot be JSON.
    """
    try:
        return orjson.loads(orjson.dumps(value, default=_told))
    except TypeError as error:
        raise InvalidInput(
            f"{what} cannot be kept: it must be JSON values all through (texts, numbers, true, false, "
            "null, lists, objects with texts as keys)"
        ) from error


def _told(value: object) -> dict[str, Any]:
    if isinstance(value, ChatMessage):
        return value.to_dict()
    raise TypeError


def _known(part: object) -> object:
    """Return a part of a message as we name it."""
    if not isinstance(part, Mapping):
        return {"type": "text", "text": part} if isinstance(part, str) else part
    match part.get("type"):
        case "text":
            return {"type": "text", "text": part.get("text", "")}
        case "function_call":
            call = {"type": "tool_call", "id": part.get("call_id"), "name": part.get("name")}
            return call | {"arguments": _text(part.get("arguments"))}
        case "function_result":
            result = {"type": "tool_result", "call_id": part.get("call_id"), "name": part.get("name") or ""}
            return result | {"text": _text(part.get("result"))}
    return dict(part)


def _text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
