"""Sessions and messages to try history providers with."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from tertulia.ids import MESSAGE, new_id
from tertulia.memory.sessions import ProviderSession
from tertulia.messages import Message, Role, now_us
from tertulia.parts import Media, Part, Reasoning, Text, ToolCall, ToolResult, Unknown, text_content

NAMES: Final = (
    "plain",
    "Plain",
    "with space",
    "a/b",
    "a:b",
    "a%3Ab",
    "a%2Fb",
    "../../etc/passwd",
    "..",
    "tab\tand\nline",
    "{brace}",
    "*?[x]",
    "'; DROP TABLE messages; --",
    "Ğüneş 中文 👩‍🍳",
    "é",
    "e\u0301",
    "x" * 300,
    "x" * 299 + "y",
    "中" * 300,
)
"""Ids of sessions that are easily taken for each other, or for something else."""
AGENTS: Final = ("Chef", "chef", "Chef/2", "Chef%2F2", "Köchin 🍳", "c" * 200)
USERS: Final = (None, "", "ada", "Ada", "ada:s1", "ada/s1", "Köchin 🍳", "u" * 300)
"""Users who may have a session of one id, and whoever has none."""
PARTS: Final[dict[str, tuple[Role, tuple[Part, ...]]]] = {
    "text": ("user", text_content("hi")),
    "scripts": ("user", text_content("👩‍🍳 ğüşî 中文 عربى \u2028 \u202e \ufeff \U0010ffff")),
    "lines": ("user", text_content('one\ntwo\r\n\ttab "quoted" \\ {"role": "user"}')),
    "nothing": ("assistant", ()),
    "empty": ("assistant", text_content("")),
    "long": ("user", text_content("word " * 100_000)),
    "system": ("system", text_content("Be kind.")),
    "several": ("user", (Text(text="one"), Text(text="two"))),
    "image": ("user", (Media(kind="image", media_type="image/png", base64="aGk="), Text(text="this"))),
    "address": ("user", (Media(kind="file", url="https://example.org/x", name="x.pdf"),)),
    "calls": (
        "assistant",
        (
            Text(text="Let me see."),
            ToolCall(id="call_1", name="look", arguments='{"at": 1.50, "é": [null]}', opaque="x"),
            ToolCall(id="call_2", name="look", arguments="no JSON"),
        ),
    ),
    "result": ("tool", (ToolResult(call_id="call_1", name="look", text="seen"),)),
    "failure": ("tool", (ToolResult(call_id="call_2", name="look", text="", is_error=True),)),
    "thought": ("assistant", (Reasoning(text="Hm.", provider="some", opaque="aGk="), Text(text="Yes."))),
    "unknown": ("user", (Unknown(raw={"type": "hologram", "depth": 3, "of": {"a": [1, None]}}),)),
}


def a_session(
    name: str = "s1", *, agent: str = "Chef", tenant: int = 0, user: str | None = None
) -> ProviderSession:
    """Return a session as a provider sees it."""
    return ProviderSession(id=name, agent=agent, tenant=tenant, user=user)


def a_message(text: str = "hi", *, role: Role = "user", author: str | None = None) -> Message:
    """Return a message that has not been said before."""
    return Message(
        id=new_id(MESSAGE), role=role, content=text_content(text), author=author, created_at=now_us()
    )


def some_messages(count: int) -> list[Message]:
    """Return so many messages, questions and answers in turn."""
    return [a_message(f"{n}", role="assistant" if n % 2 else "user") for n in range(count)]


def what_counts(messages: Iterable[Message]) -> list[Message]:
    """Return messages without what a provider may lose."""
    return [replace(message, number=0, run_id=None, turn=0) for message in messages]
