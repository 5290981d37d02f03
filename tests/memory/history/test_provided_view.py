import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from tertulia.conversations import Conversation
from tertulia.errors import ContextTooLong, ModelBusy, ProviderError
from tertulia.ids import CONVERSATION, MESSAGE, new_id
from tertulia.llms.base import Shown
from tertulia.memory.history import FileHistoryProvider, HistoryProvider, InMemoryHistoryProvider, asking
from tertulia.memory.history.asking import Asking
from tertulia.memory.reducers.base import Reducer
from tertulia.memory.sessions import ProviderSession
from tertulia.memory.tokens import tokens_of
from tertulia.memory.transcript import Passage
from tertulia.memory.views.anchored import begin
from tertulia.memory.views.base import Work
from tertulia.memory.views.provided import ProvidedView
from tertulia.messages import Flag, Message, Role
from tertulia.parts import ToolCall, text_content
from tertulia.testing.history_contract import a_message, a_session
from tests.memory.history.test_trimming import calling, result

MUCH = 100_000


class Ended(InMemoryHistoryProvider):
    """Can be read from its end, and tells how much was read."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[int] = []
        self.loads = 0

    @override
    async def load(self, session: ProviderSession) -> list[Message]:
        self.loads += 1
        return await super().load(session)

    async def recent(self, session: ProviderSession, *, limit: int) -> list[Message]:
        self.limits.append(limit)
        return (await self.all(session))[-limit:]


class Raising(HistoryProvider):
    """Fails as it is told to."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    @override
    async def load(self, session: ProviderSession) -> list[Message]:
        raise self._error

    @override
    async def append(self, session: ProviderSession, messages: Sequence[Message]) -> None:
        raise self._error


class Newest(Reducer):
    """Shows the newest messages only."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.given: list[int] = []

    @override
    async def reduce(self, messages: list[Message]) -> list[Message]:
        self.given.append(len(messages))
        return messages[-self._most :]


class Summing(Newest):
    """Has a message stand for all but the newest ones."""

    def is_due(self, messages: list[Message]) -> bool:
        return len(messages) > 2 * self._most

    @override
    async def reduce(self, messages: list[Message]) -> list[Message]:
        if not self.is_due(messages):
            return messages
        kept = await super().reduce(messages)
        cut = messages[: -self._most]
        gone = [ident for each in cut for ident in (each.stands_for or (each.id,))]
        summary = replace(a_message(f"{len(gone)} before"), stands_for=tuple(gone))
        return [summary, *kept]


class Talking:
    """A conversation whose provider is told of each turn when it is over."""

    def __init__(self, provider: HistoryProvider, *, reducer: Reducer | None = None) -> None:
        self.provider = provider
        self.view = ProvidedView(provider, agent="Chef", reducer=reducer)
        self.conversation = Conversation(
            tenant=0, id=new_id(CONVERSATION), agent_id="agent_1", alias="s1", head=0
        )
        self.paid = 0

    def next(self, text: str, role: Role = "user") -> Message:
        """Return the log's next message."""
        self.conversation = replace(self.conversation, head=self.conversation.head + 1)
        return Message(
            id=new_id(MESSAGE), role=role, content=text_content(text), number=self.conversation.head
        )

    async def turn(self, text: str, answer: str, *, budget: int = MUCH) -> list[Shown]:
        """Return what was shown for a message; then have both kept."""
        asked = self.next(text)
        shown = list(await self.show(asked, budget=budget))
        await self.provider.append(a_session(), [asked, self.next(answer, "assistant")])
        return shown

    async def show(self, *newest: Message, budget: int = MUCH, most: int | None = None) -> Passage:
        """Return what is shown just now."""
        return await self.view.show(self.conversation, newest=newest, budget=budget, most=most, pay=self._pay)

    async def _pay(self, work: Work) -> list[Message]:
        self.paid += 1
        return await work()


def texts(shown: Sequence[Shown]) -> list[str]:
    return [each.text for each in shown]


@pytest.fixture(params=[InMemoryHistoryProvider, Ended])
def talking(request: pytest.FixtureRequest) -> Talking:
    """A talk with a provider that can be read from its end, and with one that cannot."""
    return Talking(request.param())


async def test_what_the_provider_has_is_shown_and_what_was_just_said_after_it(talking: Talking) -> None:
    await talking.provider.append(a_session(), [a_message("before"), a_message("it", role="assistant")])

    first = await talking.turn("hi", "hello")
    second = await talking.turn("and?", "well")

    assert texts(first) == ["before", "it", "hi"]
    assert texts(second) == ["before", "it", "hi", "hello", "and?"]
    assert [each.role for each in second] == ["user", "assistant", "user", "assistant", "user"]


async def test_message_that_the_provider_has_already_is_shown_once(talking: Talking) -> None:
    asked = talking.next("hi")
    await talking.provider.append(a_session(), [asked])

    assert texts(await talking.show(asked)) == ["hi"]
    assert texts(await talking.show()) == ["hi"]


async def test_provider_is_right_about_what_lies_before_what_it_has(talking: Talking) -> None:
    lost, kept, asked = (talking.next(text) for text in ("lost", "kept", "asked"))
    await talking.provider.append(a_session(), [kept])

    assert texts(await talking.show(lost, kept, asked)) == ["kept", "asked"]


async def test_equal_messages_are_all_shown(talking: Talking) -> None:
    for _ in range(3):
        shown = await talking.turn("ping", "pong")

    assert texts(shown) == ["ping", "pong"] * 2 + ["ping"]


async def test_message_that_comes_after_the_head_is_not_shown(talking: Talking) -> None:
    asked = talking.next("hi")

    shown = await talking.show(asked, replace(a_message("later"), number=2))

    assert texts(shown) == ["hi"]


@pytest.mark.parametrize("flag", [Flag.WITHDRAWN, Flag.DELETED])
async def test_what_is_hidden_is_not_shown(talking: Talking, flag: Flag) -> None:
    first, second = talking.next("first"), talking.next("second")
    await talking.provider.append(a_session(), [replace(a_message("gone"), flags=flag), first])

    assert texts(await talking.show(first, second)) == ["first", "second"]
    assert texts(await talking.show(first, replace(second, flags=flag))) == ["first"]
    assert texts(await talking.show(replace(first, flags=flag), second)) == ["second"]


async def test_sessions_and_users_are_asked_for_by_what_the_conversation_says() -> None:
    asked: list[ProviderSession] = []

    class Asking(InMemoryHistoryProvider):
        @override
        async def load(self, session: ProviderSession) -> list[Message]:
            asked.append(session)
            return []

    talking = Talking(Asking())
    talking.conversation = replace(talking.conversation, tenant=7, user_id="ada")
    await talking.show(talking.next("hi"))
    talking.conversation = replace(talking.conversation, alias=None)
    await talking.show()

    assert [(each.tenant, each.agent, each.id, each.user) for each in asked] == [
        (7, "Chef", "s1", "ada"),
        (7, "Chef", talking.conversation.id, "ada"),
    ]


async def test_calls_are_shown_with_their_results_or_what_stands_for_them(talking: Talking) -> None:
    said = [
        result("gone"),
        a_message("look"),
        calling("a", "b"),
        result("a"),
        a_message("never mind"),
        result("b"),
        calling("c"),
    ]
    await talking.provider.append(a_session(), said)

    shown = list(await talking.show())

    calls = [part.id for each in shown for part in each.parts if isinstance(part, ToolCall)]
    assert calls == ["a", "b", "c"]
    assert [each.role for each in shown] == [
        *("user", "assistant", "tool", "tool", "user", "assistant", "tool"),
    ]
    assert [("cut off" in each.text) for each in shown if each.role == "tool"] == [False, True, True]


async def test_beginning_stays_until_the_budget_is_passed_and_then_jumps(talking: Talking) -> None:
    budget, prompts = 1_000, []
    for turn in range(150):
        prompts.append(await talking.turn(f"{turn} " + "word " * 12, "so " * 8, budget=budget))

    jumps = 0
    for before, after in pairwise(prompts):
        if after[: len(before)] != before:
            jumps += 1
        assert sum(tokens_of(text_content(each.text)) for each in after) <= budget
        assert after[0].role == "user"
        assert after[-1].text.startswith(f"{prompts.index(after)} ")
    assert 3 <= jumps <= 25
    assert min(len(prompt) for prompt in prompts[50:]) * 2 > max(len(prompt) for prompt in prompts)


async def test_prefix_is_encoded_once(talking: Talking) -> None:
    encoded: list[str] = []

    def encode(shown: Shown) -> bytes:
        encoded.append(shown.text)
        return shown.text.encode()

    for turn in range(20):
        asked = talking.next(f"{turn}")
        (await talking.show(asked)).pieces("some", encode)
        await talking.provider.append(a_session(), [asked])

    assert encoded == [f"{turn}" for turn in range(20)]


async def test_no_more_is_read_than_is_shown() -> None:
    talking = Talking(provider := Ended())
    await provider.append(a_session(), [a_message("word " * 20) for _ in range(5_000)])

    for _ in range(30):
        await talking.turn("word " * 20, "so", budget=1_500)

    assert provider.loads == 0
    assert max(provider.limits) <= 256
    assert len(provider.limits) <= 35


async def test_history_is_read_once_for_each_turn() -> None:
    talking = Talking(provider := Ended())
    await provider.append(a_session(), [a_message("word") for _ in range(5_000)])
    await talking.turn("word", "so", budget=5_000)
    before = len(provider.limits)

    for _ in range(5):
        await talking.turn("word", "so", budget=5_000)

    assert len(provider.limits) - before == 5


async def test_history_that_was_trimmed_behind_our_back_is_shown_from_where_it_begins(
    talking: Talking,
) -> None:
    await talking.turn("one", "1")
    await talking.turn("two", "2")

    shorter = Talking(type(talking.provider)())
    kept = [a_message("two"), a_message("2", role="assistant")]
    await shorter.provider.append(a_session(), kept)
    talking.view._asking = Asking(shorter.provider)

    assert texts(await talking.show(talking.next("three"))) == ["two", "2", "three"]


async def test_newest_message_is_shown_whatever_it_takes_up_to_the_most(talking: Talking) -> None:
    await talking.turn("before", "it", budget=200)
    asked = talking.next("word " * 300)

    shown = await talking.show(asked, budget=200, most=1_000)

    assert texts(shown) == [asked.text]
    with pytest.raises(ContextTooLong, match="about 200 tokens"):
        await talking.show(asked, budget=200)


async def test_tokens_are_those_of_what_is_shown(talking: Talking) -> None:
    await talking.turn("hi", "hello")

    passage = await talking.show(talking.next("and?"))

    assert passage.tokens == sum(tokens_of(text_content(text)) for text in ("hi", "hello", "and?"))


async def test_what_was_shown_before_stays_as_it_was(talking: Talking) -> None:
    first = await talking.show(talking.next("hi"))
    await talking.show(replace(talking.next("other"), number=1))

    assert texts(first) == ["hi"]


async def test_new_process_shows_the_newest_part_as_well() -> None:
    provider = Ended()
    old = Talking(provider)
    for turn in range(100):
        shown = await old.turn(f"{turn} " + "word " * 12, "so " * 8, budget=1_000)
    new = Talking(provider)
    new.conversation = old.conversation

    again = list(await new.show(budget=1_000))

    assert again[-2:-1] == shown[-1:]
    assert again[0].role == "user"
    assert 600 < sum(tokens_of(text_content(each.text)) for each in again) <= 1_000


async def test_what_is_kept_in_mind_is_bounded() -> None:
    provider = InMemoryHistoryProvider()
    view = ProvidedView(provider, agent="Chef", most_kept=3)

    for place in range(10):
        conversation = Conversation(tenant=0, id=f"conv_{place}", agent_id="agent_1", head=1)
        await view.show(conversation, newest=[replace(a_message(), number=1)], budget=MUCH)

    assert len(view._kept) == 3


@pytest.mark.parametrize("error", [KeyError("secret"), OSError("secret"), RuntimeError("secret")])
async def test_what_a_foreign_provider_raises_tells_nothing(error: Exception) -> None:
    talking = Talking(Raising(error))

    with pytest.raises(ProviderError) as raised:
        await talking.show()

    assert str(raised.value) == f"the history provider 'Raising': it failed ({type(error).__name__})"
    assert raised.value.__cause__ is error


async def test_what_is_ours_is_raised_as_it_is() -> None:
    talking = Talking(Raising(error := ModelBusy("busy")))

    with pytest.raises(ModelBusy) as raised:
        await talking.show()

    assert raised.value is error


async def test_failure_of_a_provider_is_told_with_its_name() -> None:
    talking = Talking(Raising(ProviderError("it is full", retry_after=3)))

    with pytest.raises(ProviderError) as raised:
        await talking.show()

    assert str(raised.value) == "the history provider 'Raising': it is full"
    assert raised.value.retry_after == 3


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError("from within")])
async def test_provider_ends_neither_the_program_nor_the_run(error: BaseException) -> None:
    talking = Talking(Raising(error))

    with pytest.raises(ProviderError, match=r"'Raising': it (tried to end the program|was cancelled)"):
        await talking.show()


async def test_provider_that_does_not_answer_is_waited_for_so_long_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Hanging(InMemoryHistoryProvider):
        @override
        async def load(self, session: ProviderSession) -> list[Message]:
            await asyncio.Event().wait()
            return []

    monkeypatch.setattr(asking, "SECONDS", 0.01)

    with pytest.raises(ProviderError, match=r"took longer than 0\.01 seconds"):
        await Talking(Hanging()).show()


@pytest.mark.parametrize("given", [None, "text", 3, ["hi"], [None], {"messages": []}])
async def test_provider_that_gives_no_messages_has_failed(given: object) -> None:
    class Strange(InMemoryHistoryProvider):
        @override
        async def load(self, session: ProviderSession) -> list[Message]:
            return given  # type: ignore[return-value]  # as somebody may who has no types

    with pytest.raises(ProviderError, match="something else than a list of messages"):
        await Talking(Strange()).show()


async def test_message_that_a_provider_gives_twice_is_shown_once() -> None:
    one, two = a_message("one"), a_message("two", role="assistant")

    class Stammering(InMemoryHistoryProvider):
        @override
        async def load(self, session: ProviderSession) -> list[Message]:
            return [one, one, two, one]

    assert texts(await Talking(Stammering()).show()) == ["one", "two"]


def test_owner_is_the_provider() -> None:
    assert ProvidedView(InMemoryHistoryProvider(), agent="Chef").owner == "InMemoryHistoryProvider"


@pytest.mark.parametrize("kind", [InMemoryHistoryProvider, Ended])
async def test_reducer_shapes_what_is_shown(kind: Callable[[], HistoryProvider]) -> None:
    talking = Talking(kind(), reducer=(reducer := Newest(3)))

    for turn in range(5):
        shown = await talking.turn(f"{turn}", "so")

    assert texts(shown) == ["3", "so", "4"]
    assert max(reducer.given) <= 5
    assert talking.paid == 0
    assert len(await talking.provider.load(a_session())) == 10


async def test_reducer_is_given_everything_once() -> None:
    provider = Ended()
    await provider.append(a_session(), [a_message(f"{n}") for n in range(500)])
    talking = Talking(provider, reducer=(reducer := Newest(3)))

    for _ in range(4):
        await talking.turn("hi", "hello")

    assert reducer.given[0] == 501
    assert max(reducer.given[1:]) <= 5
    assert provider.loads == 1


async def test_summary_is_paid_for_when_it_is_due_and_stays_in_front() -> None:
    talking = Talking(InMemoryHistoryProvider(), reducer=Summing(4))

    prompts = [texts(await talking.turn(f"{turn}", "so")) for turn in range(14)]

    assert prompts[3] == ["0", "so", "1", "so", "2", "so", "3"]
    assert prompts[4] == ["5 before", "so", "3", "so", "4"]
    assert 3 <= talking.paid <= 7
    for before, after in pairwise(prompts):
        assert after[: len(before)] == before or after[0] != before[0]


async def test_window_keeps_the_summary() -> None:
    talking = Talking(InMemoryHistoryProvider(), reducer=Summing(12))

    for turn in range(30):
        shown = await talking.turn(f"{turn} " + "word " * 12, "so " * 8, budget=300)

    assert "before" in shown[0].text
    assert shown[1].role == "user"
    assert sum(tokens_of(text_content(each.text)) for each in shown) <= 300
    assert shown[-1].text.startswith("29")


async def test_mark_in_the_conversation_has_everything_reduced_anew() -> None:
    talking = Talking(InMemoryHistoryProvider(), reducer=(reducer := Newest(3)))
    for _ in range(4):
        await talking.turn("hi", "hello")

    talking.conversation = replace(talking.conversation, version=2)
    await talking.show()

    assert reducer.given[-1] == 8


async def test_files_are_shown_too(tmp_path: object) -> None:
    talking = Talking(FileHistoryProvider(str(tmp_path)))

    for turn in range(4):
        shown = await talking.turn(f"{turn}", "so")

    assert texts(shown) == ["0", "so", "1", "so", "2", "so", "3"]


roles = st.sampled_from(("user", "assistant", "tool"))


@given(
    drawn=st.lists(st.tuples(roles, st.integers(1, 40)), min_size=1, max_size=40),
    budget=st.integers(1, 120),
)
def test_history_begins_where_it_should(drawn: list[tuple[Role, int]], budget: int) -> None:
    messages = [a_message(role=role) for role, _ in drawn]
    sizes = [size for _, size in drawn]
    anchor, before = None, 0

    for end in range(1, len(messages) + 1):
        place, tokens = begin(messages[:end], sizes[:end], anchor=anchor, budget=budget)

        users = [at for at in range(end) if messages[at].role == "user"]
        assert tokens == sum(sizes[place:end])
        assert place >= before
        assert place == before or messages[place].role == "user" or not users
        assert place <= (users[-1] if users else end - 1)
        assert tokens <= budget or place == (users[-1] if users else end - 1)
        assert place == before or sum(sizes[before:end]) > budget
        anchor, before = messages[place].id, place


@given(sizes=st.lists(st.integers(0, 3), min_size=1, max_size=12), budget=st.integers(60, 200))
def test_it_does_not_matter_how_a_provider_is_read(sizes: list[int], budget: int) -> None:
    async def shown(provider: HistoryProvider) -> list[list[str]]:
        talking = Talking(provider)
        return [
            texts(await talking.turn(f"{n} " + "word " * size, "so " * size, budget=budget))
            for n, size in enumerate(sizes * 8)
        ]

    async def both() -> tuple[list[list[str]], list[list[str]]]:
        return await shown(InMemoryHistoryProvider()), await shown(Ended())

    whole, ended = asyncio.run(both())

    assert whole == ended
