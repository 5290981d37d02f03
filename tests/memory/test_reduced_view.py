"""The stored log as a reducer leaves it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from tertulia.conversations import Conversation
from tertulia.errors import ContextTooLong, ModelUnreachable
from tertulia.ids import MESSAGE, new_id
from tertulia.llms.base import Prompt, Shown
from tertulia.llms.scripted import ScriptedLLM
from tertulia.llms.wire import body as chat_body
from tertulia.llms.wire import responses_body
from tertulia.memory.reducers import (
    Reducer,
    ReducerChain,
    SummarizationReducer,
    TokenBudgetReducer,
    ToolResultReducer,
    TruncationReducer,
)
from tertulia.memory.tokens import tokens_of
from tertulia.memory.transcript import Passage
from tertulia.memory.views.base import Work
from tertulia.memory.views.log import Log, LogView
from tertulia.memory.views.reduced import MOST_VIEWS, ReducedView
from tertulia.messages import Flag, Message
from tertulia.stores.in_memory import InMemoryStore
from tertulia.stores.states import StateStore
from tertulia.testing.builders import a_conversation, an_agent
from tertulia.testing.fake.checking_chat import check_chat
from tertulia.testing.fake.checking_response import check_response
from tests.llms.chat_rules import check_body
from tests.memory.reducers.talk import Talk, talks

BUDGET: Final = 100_000


@dataclass
class Counted(Log):
    """A store's log that counts how many messages are read."""

    store: InMemoryStore
    read: int = 0
    first: int = 0
    """The lowest number that was read."""

    @override
    async def recent(self, tenant: int, conversation_id: str, *, upto: int, limit: int) -> list[Message]:
        raise AssertionError("not needed")

    @override
    async def messages(
        self, tenant: int, conversation_id: str, *, after: int = 0, limit: int = 100
    ) -> list[Message]:
        found = await self.store.conversations.messages(tenant, conversation_id, after=after, limit=limit)
        self.read += len(found)
        self.first = min([self.first or after + 1, *(message.number for message in found)])
        return found


@dataclass
class Spoken:
    """A conversation in a store, and what is shown of it."""

    reducer: Callable[[], Reducer]
    store: InMemoryStore = field(default_factory=InMemoryStore)
    talk: Talk = field(default_factory=Talk)
    log: Counted = field(init=False)
    view: ReducedView = field(init=False)
    row: Conversation = field(init=False)

    async def begin(self) -> "Spoken":
        self.row = await a_conversation(self.store)
        self.log = Counted(self.store)
        self.view = self.other_process()
        return self

    def other_process(self) -> ReducedView:
        return ReducedView(self.log, self.store.states, self.reducer())

    async def say(self, *messages: Message) -> list[Message]:
        """Put messages into the log; return them as they stand there."""
        before = self.row.head
        said = [replace(message, id=new_id(MESSAGE), number=0) for message in messages]
        self.row = await self.store.conversations.append(
            0, self.row.id, said, tokens=[tokens_of(message.content) for message in said]
        )
        return await self.store.conversations.messages(0, self.row.id, after=before, limit=1000)

    async def shown(self, view: ReducedView | None = None, *, budget: int = BUDGET) -> Passage:
        return await (view or self.view).show(self.row, newest=(), budget=budget)


def texts(shown: Sequence[Shown]) -> list[str]:
    return [message.text for message in shown]


def sent(passage: Passage) -> bytes:
    return chat_body.encode("m", Prompt(messages=passage), chat_body.Dialect())


def truncation() -> TruncationReducer:
    return TruncationReducer(4, threshold=4)


def summing(reply: str | Exception = "they spoke") -> SummarizationReducer:
    return SummarizationReducer(ScriptedLLM(lambda _prompt: reply), 4, 4)


async def test_what_is_cut_is_not_shown() -> None:
    spoken = await Spoken(truncation).begin()

    await spoken.say(*spoken.talk.turns(5))

    assert texts(await spoken.shown()) == ["q3", "a3", "q4", "a4"]


async def test_next_turn_reads_nothing_and_encodes_nothing_again() -> None:
    spoken = await Spoken(truncation).begin()
    await spoken.say(*spoken.talk.turns(2))
    first = await spoken.shown()
    read = spoken.log.read

    newest = await spoken.say(spoken.talk.user("next"))
    shown = await spoken.view.show(spoken.row, newest=newest, budget=BUDGET)

    assert spoken.log.read == read
    assert texts(shown) == [*texts(first), "next"]
    assert all(after is before for after, before in zip(shown, first, strict=False))


async def test_what_was_learned_need_not_be_read() -> None:
    spoken = await Spoken(truncation).begin()
    await spoken.say(*spoken.talk.turns(1))
    await spoken.shown()
    before, read = spoken.row, spoken.log.read

    answer = await spoken.say(spoken.talk.assistant("answer"))
    spoken.view.learn(before, answer, budget=BUDGET)
    newest = await spoken.say(spoken.talk.user("next"))
    shown = await spoken.view.show(spoken.row, newest=newest, budget=BUDGET)

    assert spoken.log.read == read
    assert texts(shown) == ["q0", "a0", "answer", "next"]


async def test_of_messages_that_do_not_go_on_from_there_nothing_is_learned() -> None:
    spoken = await Spoken(truncation).begin()
    await spoken.say(*spoken.talk.turns(1))
    await spoken.shown()
    before = spoken.row

    await spoken.say(spoken.talk.user("elsewhere"))
    answer = await spoken.say(spoken.talk.assistant("answer"))
    spoken.view.learn(before, answer, budget=BUDGET)

    assert texts(await spoken.shown()) == ["q0", "a0", "elsewhere", "answer"]


async def test_another_process_reads_no_more_than_is_shown() -> None:
    spoken = await Spoken(truncation).begin()
    for turn in spoken.talk.turns(300):
        await spoken.say(turn)
        if turn.role == "user":
            await spoken.shown()
    warm = await spoken.shown()

    spoken.log.read = spoken.log.first = 0
    cold = await spoken.shown(spoken.other_process())

    assert sent(cold) == sent(warm)
    assert spoken.log.read <= 16
    assert spoken.log.first > 580


async def test_another_process_reads_no_more_if_what_is_shown_stands_far_apart() -> None:
    spoken = await Spoken(truncation).begin()
    await spoken.say(spoken.talk.system("be kind"), *spoken.talk.turns(300))
    warm = await spoken.shown()

    spoken.log.read = 0
    cold = await spoken.shown(spoken.other_process())

    assert sent(cold) == sent(warm)
    assert texts(warm)[0] == "be kind"
    assert spoken.log.read <= 10


async def test_what_was_learned_and_what_others_have_said_since_are_both_shown() -> None:
    spoken = await Spoken(truncation).begin()
    await spoken.say(spoken.talk.user("question"))
    await spoken.shown()

    before, answer = spoken.row, await spoken.say(spoken.talk.assistant("answer"))
    spoken.view.learn(before, answer, budget=BUDGET)
    await spoken.say(*spoken.talk.turns(1))

    assert texts(await spoken.shown()) == ["question", "answer", "q0", "a0"]


async def test_nothing_is_learned_of_what_was_never_shown() -> None:
    spoken = await Spoken(truncation).begin()
    said = await spoken.say(spoken.talk.user("question"))

    spoken.view.learn(spoken.row, said, budget=BUDGET)

    assert texts(await spoken.shown()) == ["question"]


async def test_withdrawn_messages_are_shown_no_more_even_if_they_were_kept() -> None:
    spoken = await Spoken(truncation).begin()
    said = await spoken.say(*spoken.talk.turns(5))
    await spoken.shown()

    spoken.row = await spoken.store.conversations.mark(0, spoken.row.id, [said[6].number], Flag.WITHDRAWN)
    await spoken.say(spoken.talk.user("next"))
    warm, cold = await spoken.shown(), await spoken.shown(spoken.other_process())

    assert sent(warm) == sent(cold)
    assert "q3" not in texts(warm)
    assert texts(warm)[-3:] == ["q4", "a4", "next"]


async def test_no_model_is_asked_twice_for_one_summary() -> None:
    llm = ScriptedLLM(["they spoke"])
    spoken = await Spoken(lambda: SummarizationReducer(llm, 4, 4)).begin()
    await spoken.say(*spoken.talk.turns(5))

    warm = await spoken.shown()
    cold = await spoken.shown(spoken.other_process())

    assert len(llm.prompts) == 1
    assert sent(warm) == sent(cold)
    assert texts(warm) == ["Summary of the earlier conversation:\nthey spoke", "q3", "a3", "q4", "a4"]


async def test_a_process_that_was_passed_by_takes_over_the_summary_that_another_has_made() -> None:
    llm = ScriptedLLM(["they spoke"])
    spoken = await Spoken(lambda: SummarizationReducer(llm, 4, 4)).begin()
    await spoken.say(*spoken.talk.turns(2))
    await spoken.shown()

    await spoken.say(*spoken.talk.turns(3))
    other = await spoken.shown(spoken.other_process())
    await spoken.say(spoken.talk.user("next"))
    here = await spoken.shown()

    assert len(llm.prompts) == 1
    assert texts(here) == [*texts(other), "next"]


async def test_a_summary_is_made_in_a_step_of_the_run_and_only_when_it_is_due() -> None:
    spoken = await Spoken(summing).begin()
    steps: list[int] = []

    async def pay(work: Work) -> list[Message]:
        made = await work()
        steps.append(len(made))
        return [Message.from_dict(orjson.loads(orjson.dumps(message.to_dict()))) for message in made]

    for turn in spoken.talk.turns(5):
        newest = await spoken.say(turn)
        shown = await spoken.view.show(spoken.row, newest=newest, budget=BUDGET, pay=pay)

    assert steps == [4]
    assert sent(shown) == sent(await spoken.shown(spoken.other_process()))


async def test_a_model_that_fails_leaves_everything_as_it_was() -> None:
    spoken = await Spoken(lambda: summing(ModelUnreachable("no connection"))).begin()

    said = await spoken.say(*spoken.talk.turns(6))

    assert texts(await spoken.shown()) == texts([Shown(role=m.role, text=m.text) for m in said])
    assert await spoken.store.states.all_of(0, spoken.row.id) == {}


async def test_a_long_log_that_was_never_shown_is_summed_up_in_one_go() -> None:
    llm = ScriptedLLM(lambda _prompt: "they spoke")
    spoken = await Spoken(lambda: SummarizationReducer(llm, 4, 0)).begin()
    await spoken.say(*spoken.talk.turns(300))

    shown = await spoken.shown()

    assert len(llm.prompts) == 1
    assert len(shown) == 5


async def test_other_reducers_are_kept_apart() -> None:
    spoken = await Spoken(truncation).begin()
    await spoken.say(*spoken.talk.turns(5))
    await spoken.shown()

    spoken.reducer = lambda: TruncationReducer(2)
    shown = await spoken.shown(spoken.other_process())

    assert texts(shown) == ["q4", "a4"]
    assert len(await spoken.store.states.all_of(0, spoken.row.id)) == 2


async def test_what_was_kept_for_reducers_of_long_ago_is_taken_away() -> None:
    spoken = await Spoken(truncation).begin()
    for source in ("facts", "view:history:redis", "view:unreadable"):
        await spoken.store.states.put(0, spoken.row.id, source, "[]", expected_version=0)
    sources: list[set[str]] = []

    for threshold in range(MOST_VIEWS + 2):
        spoken.reducer = partial(TruncationReducer, 2, threshold=threshold)
        await spoken.say(*spoken.talk.turns(10))
        await spoken.shown(spoken.other_process())
        sources.append(set(await spoken.store.states.all_of(0, spoken.row.id)))

    assert [len(each) for each in sources] == [*range(4, MOST_VIEWS + 3), *[MOST_VIEWS + 2] * 3]
    assert {"facts", "view:history:redis"} < sources[-1]
    assert "view:unreadable" not in sources[-1]
    assert len(sources[-1] - sources[0]) == MOST_VIEWS


class Newest(Reducer):
    """A reducer that cannot be described."""

    def __init__(self, count: int) -> None:
        self.newest: Callable[[list[Message]], list[Message]] = lambda messages: messages[-count:]

    @override
    async def reduce(self, messages: list[Message]) -> list[Message]:
        return self.newest(messages)


async def test_reducers_that_cannot_be_told_apart_do_not_take_over_what_is_kept() -> None:
    spoken = await Spoken(lambda: Newest(2)).begin()
    await spoken.say(*spoken.talk.turns(5))
    first = await spoken.shown()

    spoken.reducer = lambda: Newest(4)
    other = await spoken.shown(spoken.other_process())

    assert (texts(first), texts(other)) == (["q4", "a4"], ["q3", "a3", "q4", "a4"])


async def test_what_stands_in_the_store_and_cannot_be_read_is_made_anew() -> None:
    spoken = await Spoken(truncation).begin()
    await spoken.say(*spoken.talk.turns(5))
    warm = await spoken.shown()
    [(source, kept)] = (await spoken.store.states.all_of(0, spoken.row.id)).items()

    for value in ('{"v":99}', "[]", '{"v":1,"version":1,"head":10,"shown":[[1]]}'):
        version = await _version(spoken.store.states, spoken.row.id, source)
        await spoken.store.states.put(0, spoken.row.id, source, value, expected_version=version)
        assert sent(await spoken.shown(spoken.other_process())) == sent(warm)

    assert (await spoken.store.states.all_of(0, spoken.row.id))[source].value == kept.value


async def _version(states: StateStore, scope: str, source: str) -> int:
    found = await states.get(0, scope, source)
    return 0 if found is None else found.version


async def test_what_is_left_is_cut_further_where_there_is_less_room() -> None:
    spoken = await Spoken(lambda: TruncationReducer(100)).begin()
    await spoken.say(spoken.talk.system("be kind"), *spoken.talk.turns(40))

    shown = await spoken.shown(budget=100)

    assert shown.tokens <= 100
    assert [message.role for message in shown][:2] == ["system", "user"]
    assert texts(shown)[-1] == "a39"


async def test_message_longer_than_the_room_says_what_to_do() -> None:
    spoken = await Spoken(truncation).begin()
    await spoken.say(*spoken.talk.turns(3), spoken.talk.user("word " * 1000))

    with pytest.raises(ContextTooLong, match=r"context_tokens=, or TERTULIA_CONTEXT_TOKENS"):
        await spoken.shown(budget=100)
    shown = await spoken.view.show(spoken.row, newest=(), budget=100, most=5000)

    assert len(shown) == 1


async def test_what_is_kept_is_bounded() -> None:
    store, rows = InMemoryStore(), list[Conversation]()
    agent = await an_agent(store)
    for _ in range(6):
        row = await a_conversation(store, agent)
        said = replace(Talk().user("x" * 1000), id=new_id(MESSAGE))
        rows.append(await store.conversations.append(0, row.id, [said], tokens=[254]))
    log = Counted(store)
    view = ReducedView(log, store.states, truncation(), cache_bytes=20_000)

    for row in rows:
        await view.show(row, newest=(), budget=BUDGET)
    read = log.read
    await view.show(rows[-1], newest=(), budget=BUDGET)
    await view.show(rows[0], newest=(), budget=BUDGET)

    assert log.read == read + 1


async def test_a_reducer_that_forgets_nothing_is_bounded() -> None:
    spoken = await Spoken(lambda: ToolResultReducer(1)).begin()
    view = ReducedView(spoken.log, spoken.store.states, ToolResultReducer(1), most_tokens=500)
    await spoken.say(*spoken.talk.turns(300))

    shown = await view.show(spoken.row, newest=(), budget=BUDGET)

    assert 250 <= shown.tokens <= 500


async def test_a_reducer_of_somebody_elses_is_given_what_it_has_left_before() -> None:
    given_before: list[int] = []

    class Last(Reducer):
        @override
        async def reduce(self, messages: list[Message]) -> list[Message]:
            given_before.append(len(messages))
            return messages[-2:]

    spoken = await Spoken(Last).begin()
    for said in spoken.talk.turns(3):
        await spoken.say(said)
        shown = await spoken.shown()

    assert texts(shown) == ["q2", "a2"]
    assert given_before == [1, 2, 3, 3, 3, 3]


async def test_nothing_was_said_yet() -> None:
    spoken = await Spoken(truncation).begin()

    assert list(await spoken.shown()) == []


REDUCERS: Final[dict[str, Callable[[], Reducer]]] = {
    "truncation": truncation,
    "budget": lambda: TokenBudgetReducer(60, 30),
    "tool_results": lambda: ToolResultReducer(1, threshold=1),
    "summarization": summing,
    "chain": lambda: ReducerChain([ToolResultReducer(1), summing(), TokenBudgetReducer(200)]),
}
every_reducer = pytest.mark.parametrize("reducer", REDUCERS.values(), ids=REDUCERS)


@every_reducer
@given(
    messages=talks(most=30),
    budget=st.integers(40, 300) | st.just(BUDGET),
    shown_at=st.sets(st.integers(0, 30)),
    forgotten_at=st.sets(st.integers(0, 30)),
    withdrawn_at=st.integers(0, 60),
)
def test_what_was_kept_and_what_is_read_anew_are_the_same(  # all that can happen to a view
    reducer: Callable[[], Reducer],
    messages: list[Message],
    budget: int,
    shown_at: set[int],
    forgotten_at: set[int],
    withdrawn_at: int,
) -> None:
    async def go_on() -> None:
        spoken = await Spoken(reducer).begin()
        for place, message in enumerate(messages):
            said = await spoken.say(message)
            if place == withdrawn_at:
                marked = spoken.store.conversations.mark(0, spoken.row.id, [said[0].number], Flag.WITHDRAWN)
                spoken.row, said = await marked, []
            if place in forgotten_at:
                spoken.view = spoken.other_process()
            if place in shown_at:
                await _same_everywhere(spoken, said, budget=budget)

    asyncio.run(go_on())


async def test_how_long_a_summary_is_does_not_decide_what_is_cut() -> None:
    spoken = await Spoken(REDUCERS["chain"]).begin()
    lengths = [1] * 6 + [13] * 5 + [27] * 4
    for place, length in enumerate(lengths):
        said = (spoken.talk.assistant if place % 2 else spoken.talk.user)("word " * length)
        newest = await spoken.say(said)
        if place > 8:
            await _same_everywhere(spoken, newest, budget=BUDGET)


async def _same_everywhere(spoken: Spoken, newest: Sequence[Message], *, budget: int) -> None:
    """Show a conversation here, from the store's state and from the whole log; all must be the same."""
    most = 1_000_000
    warm = await spoken.view.show(spoken.row, newest=newest, budget=budget, most=most)
    cold = await spoken.other_process().show(spoken.row, newest=(), budget=budget, most=most)
    anew = ReducedView(spoken.log, InMemoryStore().states, spoken.reducer())
    with_nothing = await anew.show(spoken.row, newest=(), budget=budget, most=most)
    assert list(warm) == list(cold) == list(with_nothing)
    assert warm.tokens == cold.tokens == with_nothing.tokens
    if len(warm):
        assert sent(warm) == sent(cold) == sent(with_nothing)
        check_body(sent(warm))
        check_chat(orjson.loads(sent(warm)))
        check_response(
            orjson.loads(responses_body.encode("m", Prompt(messages=warm), responses_body.Dialect()))
        )


async def test_while_nothing_is_cut_the_prompt_begins_with_the_bytes_of_the_one_before() -> None:
    spoken = await Spoken(lambda: TruncationReducer(10, threshold=10)).begin()
    before, kept = b"", 0

    for said in spoken.talk.turns(100):
        await spoken.say(said)
        passage = await spoken.shown()
        now = b"".join(bytes(piece) for piece in passage.pieces(chat_body.WIRE, _encoded))
        kept += now.startswith(before)
        before = now

    assert kept >= 180


def _encoded(shown: Shown) -> bytes:
    return orjson.dumps([shown.role, shown.text])


async def test_shows_what_the_log_itself_shows_if_nothing_is_reduced() -> None:
    spoken = await Spoken(lambda: TruncationReducer(10_000)).begin()
    for said in spoken.talk.turns(40):
        await spoken.say(said)

        for budget in (60, 150, 400):
            whole = await LogView(spoken.store.conversations).show(spoken.row, newest=(), budget=budget)
            assert sent(await spoken.shown(budget=budget)) == sent(whole)
