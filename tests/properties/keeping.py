"""What those do to a store who say things elsewhere, and keep things beside what is said."""

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tertulia.ids import MESSAGE, new_id
from tertulia.messages import Message
from tertulia.parts import text_content
from tests.properties.agreeing import Agreeing
from tests.properties.wishes import places, texts

sources = st.sampled_from(["facts", "view:summary"])
values = st.sampled_from(["[1]", "[2]", None])


class Keeping(Agreeing):
    """The rules of sessions and providers."""

    @rule(place=places, said=st.lists(texts, max_size=3), known=st.lists(places, max_size=2))
    def append(self, place: int, said: list[str], known: list[int]) -> None:
        conversation_id = self.place(self.conversations, place)
        new = [Message(id=new_id(MESSAGE), role="user", content=text_content(text)) for text in said]
        again = [self.said_in(each) for each in known]
        messages = [*new[:1], *[replace(each, number=0) for each in again if each is not None], *new[1:]]
        tokens = [5] * len(messages)

        self.both(lambda s: s.conversations.append(self.tenant, conversation_id, messages, tokens=tokens))

        self.look_at_conversation(conversation_id)

    def said_in(self, place: int) -> Message | None:
        """Return a message of one of the conversations, if anything was said there."""
        conversation_id = self.place(self.conversations, place)
        messages = self.both(lambda s: s.conversations.messages(self.tenant, conversation_id))
        return messages[place % len(messages)] if messages else None

    @rule(place=places, source=sources, value=values, behind=st.sampled_from([0, 0, 0, 1]))
    def keep(self, place: int, source: str, value: str | None, behind: int) -> None:
        scope = self.place(self.conversations, place)
        kept = self.both(lambda s: s.states.get(self.tenant, scope, source))
        version = max((kept.version if kept else 0) - behind, 0)

        self.both(lambda s: s.states.put(self.tenant, scope, source, value, expected_version=version))

        self.both(lambda s: s.states.all_of(self.tenant, scope))

    @rule(place=places)
    def forget(self, place: int) -> None:
        scope = self.place(self.conversations, place)

        self.both(lambda s: s.states.forget(self.tenant, scope))
