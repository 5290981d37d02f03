"""Messages of stores that keep no ids: each has one all the same, and the same one every time."""

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis.strategies import integers, lists, sampled_from

from tertulia.compat.agent_framework.history import StoredMessages
from tertulia.messages import Message
from tests.compat.talk import TextStore

SAID = [
    Message.from_dict({"role": role, "content": text}) for role in ("user", "assistant") for text in "abc"
]


def anew(message: Message) -> Message:
    return Message.from_dict({"role": message.role, "content": message.text})


async def added(store: TextStore, messages: Sequence[Message]) -> StoredMessages:
    stored = StoredMessages(store)
    for message in messages:
        await stored.append([message])
    return stored


@given(before=lists(sampled_from(SAID)), said=lists(sampled_from(SAID)), trimmed=integers(0, 9))
def test_what_was_added_has_its_own_id_again(
    before: list[Message], said: list[Message], trimmed: int
) -> None:
    store = TextStore()
    store.rows += [(message.role, message.text) for message in before]
    messages = [anew(message) for message in said]
    stored = asyncio.run(added(store, messages))
    del store.rows[:trimmed]

    loaded = asyncio.run(stored.load())

    assert [each.text for each in loaded] == [each.text for each in [*before, *messages][trimmed:]]
    ours = messages[max(trimmed - len(before), 0) :]
    assert [each.id for each in loaded[max(len(before) - trimmed, 0) :]] == [each.id for each in ours]


@given(before=lists(sampled_from(SAID)))
def test_what_others_have_added_has_an_id_of_its_own_that_stays(before: list[Message]) -> None:
    store = TextStore()
    store.rows += [(message.role, message.text) for message in before]

    first, second = (asyncio.run(StoredMessages(store).load()) for _ in range(2))

    assert first == second
    assert len({each.id for each in first}) == len(before)


async def test_one_id_twice_is_one_message() -> None:
    store, message = TextStore(), anew(SAID[0])
    stored = StoredMessages(store)

    await stored.append([message, message])
    await stored.append([message])

    assert store.rows == [("user", "a")]
