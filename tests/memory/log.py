"""A log for tests of what is shown of it."""

from typing_extensions import override

from tertulia.conversations import Conversation
from tertulia.memory.tokens import tokens_of
from tertulia.memory.views.log import Log
from tertulia.messages import Flag, Message, Role
from tertulia.parts import Part, text_content


class ALog(Log):
    """A conversation that only remembers what is said, and counts how often it is read."""

    def __init__(self) -> None:
        self.messages_said: list[Message] = []
        self.reads = 0
        self.gaps = 0
        self.version = 1

    def say(self, text: str, *, role: str = "user", flags: Flag = Flag.NONE) -> Message:
        return self.add("user" if role == "user" else "assistant", text_content(text), flags=flags)

    def add(self, role: Role, content: tuple[Part, ...], *, flags: Flag = Flag.NONE) -> Message:
        message = Message(
            id=f"msg_{len(self.messages_said)}",
            role=role,
            content=content,
            number=len(self.messages_said) + 1,
            flags=flags,
        )
        self.messages_said.append(message)
        return message

    @property
    def row(self) -> Conversation:
        return Conversation(
            tenant=0,
            id="conv",
            agent_id="agent",
            head=len(self.messages_said),
            tokens=sum(tokens_of(m.content) for m in self.messages_said),
            version=self.version,
        )

    @override
    async def recent(self, tenant: int, conversation_id: str, *, upto: int, limit: int) -> list[Message]:
        self.reads += 1
        return self.messages_said[:upto][::-1][:limit]

    @override
    async def messages(
        self, tenant: int, conversation_id: str, *, after: int = 0, limit: int = 100
    ) -> list[Message]:
        self.gaps += 1
        return self.messages_said[after : after + limit]
