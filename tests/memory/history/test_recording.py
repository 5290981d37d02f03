from collections.abc import Sequence
from dataclasses import replace

import pytest
from typing_extensions import override

from tertulia.errors import ProviderError
from tertulia.memory.history import (
    Flags,
    HistoryProvider,
    InMemoryHistoryProvider,
    Recording,
    SupportsFlags,
    SupportsForgetting,
    SupportsRecent,
    flags_of,
)
from tertulia.memory.sessions import ProviderSession
from tertulia.messages import Message
from tertulia.parts import Text, ToolCall
from tertulia.testing.history_contract import a_message, a_session, some_messages
from tests.memory.history.test_trimming import calling, result


class Named(HistoryProvider):
    """Has a name of its own, and can be read from its end."""

    def __init__(self) -> None:
        self.limits: list[int] = []
        self.closed = 0

    @property
    @override
    def name(self) -> str:
        return "audit"

    @override
    async def load(self, session: ProviderSession) -> list[Message]:
        raise AssertionError("not asked")

    async def recent(self, session: ProviderSession, *, limit: int) -> list[Message]:
        self.limits.append(limit)
        return []

    @override
    async def append(self, session: ProviderSession, messages: Sequence[Message]) -> None:
        raise AssertionError("not asked")

    @override
    async def close(self) -> None:
        self.closed += 1


ASKED = a_message("What is there?")
LOOKED = calling("a")
TOLD = replace(
    a_message(role="assistant"),
    content=(Text(text="Let me see."), ToolCall(id="b", name="look", arguments="{}")),
)
SEEN = result("a")
SAID = a_message("A cat.", role="assistant")
RUN = [ASKED, LOOKED, SEEN, TOLD, SAID]


def test_provider_that_says_nothing_wants_the_conversation() -> None:
    provider = InMemoryHistoryProvider()

    assert not isinstance(provider, SupportsFlags)
    assert flags_of(provider) == Flags(load_messages=True, store_context_messages=False)
    assert flags_of(provider).chosen(RUN) == RUN


def test_recording_is_only_written_to_if_nothing_else_is_said() -> None:
    recording = Recording(InMemoryHistoryProvider())

    assert flags_of(recording) == Flags(load_messages=False)
    assert flags_of(Recording(recording, load_messages=True, store_context_messages=True)) == Flags(
        store_context_messages=True
    )


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        (Flags(store_inputs=False), [LOOKED, SEEN, TOLD, SAID]),
        (Flags(store_outputs=False), [ASKED, LOOKED, SEEN, TOLD]),
        (Flags(store_outputs=False, store_tools=False), [ASKED]),
        (Flags(store_inputs=False, store_outputs=False, store_tools=False), []),
    ],
)
def test_flags_say_what_is_given(flags: Flags, kept: list[Message]) -> None:
    assert flags.chosen(RUN) == kept


def test_without_tools_what_was_said_beside_a_call_is_given() -> None:
    kept = Flags(store_tools=False).chosen(RUN)

    assert kept == [ASKED, replace(TOLD, content=(Text(text="Let me see."),)), SAID]
    assert kept[1].id == TOLD.id


async def test_recording_is_what_it_wraps() -> None:
    inner = Named()
    recording = Recording(inner)

    await recording.recent(a_session(), limit=3)
    await recording.close()

    assert recording.name == "audit"
    assert (inner.limits, inner.closed) == ([3], 1)


async def test_recording_reads_the_end_of_what_has_only_a_whole() -> None:
    inner, said = InMemoryHistoryProvider(), some_messages(5)
    recording = Recording(inner)
    await recording.append(a_session(), said)

    assert isinstance(recording, SupportsRecent)
    assert await inner.load(a_session()) == said
    for limit in (0, 1, 2, 5, 9):
        assert await recording.recent(a_session(), limit=limit) == said[max(5 - limit, 0) :]


async def test_recording_has_what_it_wraps_forget() -> None:
    inner, said = InMemoryHistoryProvider(), some_messages(3)
    recording = Recording(inner)
    await recording.append(a_session(), said)

    assert isinstance(recording, SupportsForgetting)
    await recording.forget(a_session(), [said[1].id])

    assert await inner.load(a_session()) == [said[0], said[2]]


async def test_recording_of_what_cannot_forget_says_so() -> None:
    with pytest.raises(ProviderError, match="cannot forget single messages"):
        await Recording(Named()).forget(a_session(), ["msg_1"])
