"""How every store takes in what was said elsewhere."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tertulia.conversations import DEFAULT_TENANT, Conversation, Submission
from tertulia.errors import (
    ConversationBusy,
    ConversationClosed,
    ConversationMovedOn,
    InvalidInput,
    NotFound,
    TertuliaError,
)
from tertulia.ids import CONVERSATION, MESSAGE, RUN, new_id
from tertulia.messages import Flag, Message
from tertulia.parts import ToolCall, ToolResult, text_content
from tertulia.stores.base import Store
from tertulia.testing.builders import (
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_failed_run,
    a_finish,
    a_fork,
    a_queued_run,
    a_submission,
    a_waiting_run,
    all_kept,
    all_texts,
    an_agent,
    an_answer,
    an_exchange,
)
from tertulia.testing.contracts.content import any_text

TENANT = DEFAULT_TENANT
OTHERS = 7
_FEW: Final = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_WRONG_IDS: Final = ["", "greeting", "m-1", f"{RUN}_{7:032x}", f"{MESSAGE}_{7:031x}", f"{MESSAGE}_{7:032X}g"]


def a_question(text: str = "hello") -> Message:
    """Return what a user has said elsewhere."""
    return Message(id=new_id(MESSAGE), role="user", content=text_content(text))


async def appended(store: Store, conversation: Conversation, *messages: Message) -> Conversation:
    """Have messages appended, of ten tokens each."""
    tokens = [10] * len(messages)
    return await store.conversations.append(conversation.tenant, conversation.id, messages, tokens=tokens)


async def read(store: Store, conversation: Conversation) -> list[Message]:
    """Return the messages of a conversation that is not long."""
    return await store.conversations.messages(conversation.tenant, conversation.id, limit=1_000)


@pytest.mark.asyncio
class AppendContract:
    """Messages that were said elsewhere go to the end, each once."""

    async def test_what_is_appended_stands_at_the_end_in_its_order(self, store: Store) -> None:
        conversation = await a_conversation(store)
        await an_exchange(store, conversation, "U1", "A1")

        row = await store.conversations.append(
            TENANT, conversation.id, [a_question("U2"), an_answer("A2")], tokens=[3, 4]
        )

        assert (row.head, row.tokens, row.version) == (4, 27, 1)
        assert row == await store.conversations.get(TENANT, conversation.id)
        assert [(m.number, m.text) for m in await read(store, conversation)] == [
            (1, "U1"),
            (2, "A1"),
            (3, "U2"),
            (4, "A2"),
        ]

    async def test_message_is_kept_as_it_is_but_for_run_turn_and_number(self, store: Store) -> None:
        conversation = await a_conversation(store)
        call = ToolCall(id="c", name="look", arguments="{}")
        said = [
            replace(a_question(), author="Ada", created_at=5),
            replace(an_answer(), content=(call,), flags=Flag.INCOMPLETE, turn=3, number=9),
            Message(
                id=new_id(MESSAGE),
                role="tool",
                content=(ToolResult(call_id="c", name="look", text="a tree"),),
                run_id=new_id(RUN),
            ),
            Message(id=new_id(MESSAGE), role="system", content=text_content("Be brief."), created_at=7),
        ]

        await appended(store, conversation, *said)

        kept = await read(store, conversation)
        assert kept == [
            replace(message, number=number, run_id=None, turn=0, created_at=kept[number - 1].created_at)
            for number, message in enumerate(said, start=1)
        ]
        assert [kept[0].created_at, kept[1].created_at, kept[3].created_at] == [5, said[1].created_at, 7]
        assert kept[2].created_at > 7

    async def test_no_run_is_begun_and_the_next_one_answers_after_it(self, store: Store) -> None:
        conversation = await a_conversation(store)

        await appended(store, conversation, a_question("U1"), an_answer("A1"))
        runs = await store.runs.page(TENANT, conversation.id)
        claim = await a_claimed_run(store, a_submission(conversation, "U2"))
        await store.runs.commit(claim.lease, a_finish("A2"), None)

        assert runs == []
        assert (claim.run.n, claim.input.number, claim.conversation.tokens) == (1, 3, 30)
        assert await all_texts(store, conversation) == ["U1", "A1", "U2", "A2"]

    async def test_same_call_again_changes_nothing(self, store: Store) -> None:
        conversation = await a_conversation(store)
        said = [a_question("U1"), an_answer("A1")]
        row = await appended(store, conversation, *said)
        before = await all_kept(store, conversation)

        again = await appended(store, conversation, *said)

        assert again == row
        assert await all_kept(store, conversation) == before

    async def test_what_stands_in_it_is_left_out_of_the_rest(self, store: Store) -> None:
        conversation = await a_conversation(store)
        claim = await an_exchange(store, conversation, "U1", "A1")
        [asked, answered] = await read(store, conversation)
        new = a_question("U2")

        row = await appended(store, conversation, asked, new, replace(answered, number=0), new)

        assert claim.input == asked
        assert (row.head, row.tokens) == (3, 30)
        assert await all_texts(store, conversation) == ["U1", "A1", "U2"]

    async def test_equal_words_are_not_the_same_message(self, store: Store) -> None:
        conversation = await a_conversation(store)

        await appended(store, conversation, *[a_question("again") for _ in range(3)])

        assert await all_texts(store, conversation) == ["again"] * 3

    async def test_nothing_is_appended_where_nothing_is_given(self, store: Store) -> None:
        conversation = await a_conversation(store)

        assert await appended(store, conversation) == conversation

    async def test_conversation_is_named_by_its_alias_too(self, store: Store) -> None:
        conversation = await a_conversation(store, alias="mine")

        row = await store.conversations.append(TENANT, "mine", [a_question()], tokens=[1])

        assert (row.id, row.head) == (conversation.id, 1)

    async def test_many_are_appended_at_once(self, store: Store) -> None:
        conversation = await a_conversation(store)
        said = [a_question(f"{i}") for i in range(150)]

        row = await appended(store, conversation, *said)
        again = await appended(store, conversation, *said, a_question("last"))

        assert (row.head, row.tokens, again.head) == (150, 1500, 151)
        assert await all_texts(store, conversation) == [*map(str, range(150)), "last"]

    async def test_what_a_branch_shares_stands_in_it(self, store: Store) -> None:
        source = await a_conversation(store)
        said = [a_question("1"), an_answer("2"), a_question("3"), an_answer("4")]
        await appended(store, source, *said)
        branch = await a_fork(store, source, at=2)
        last = await a_fork(store, branch, at=2)
        new = a_question("5")

        for conversation in (branch, last):
            row = await appended(store, conversation, *said[:2], replace(new, id=new_id(MESSAGE)))
            assert row.head == 3
            assert await all_texts(store, conversation) == ["1", "2", "5"]
            with pytest.raises(InvalidInput):
                await appended(store, conversation, said[2])
        assert await all_texts(store, source) == ["1", "2", "3", "4"]

    async def test_message_of_another_conversation_is_refused(self, store: Store) -> None:
        agent = await an_agent(store)
        one, other = [await a_conversation(store, agent) for _ in range(2)]
        claim = await an_exchange(store, one, "U1", "A1")
        [asked, answered] = await read(store, one)
        await appended(store, one, said := a_question("U2"))

        for known in (asked, answered, said):
            with pytest.raises(InvalidInput):
                await appended(store, other, a_question("new"), known)

        assert claim.input == asked
        assert (await store.conversations.get(TENANT, other.id)).head == 0
        assert await read(store, other) == []

    async def test_tenants_may_have_messages_of_the_same_id(self, store: Store) -> None:
        said = a_question()
        ours = await a_conversation(store, await an_agent(store))
        theirs = await a_conversation(store, await an_agent(store, tenant=OTHERS))

        for conversation in (ours, theirs):
            await appended(store, conversation, said)

        assert [m.id for c in (ours, theirs) for m in await read(store, c)] == [said.id] * 2

    async def test_conversation_of_another_tenant_is_not_there(self, store: Store) -> None:
        conversation = await a_conversation(store, alias="mine")

        for name in (conversation.id, "mine"):
            with pytest.raises(NotFound):
                await store.conversations.append(OTHERS, name, [a_question()], tokens=[1])

        assert await read(store, conversation) == []

    @pytest.mark.parametrize("ident", _WRONG_IDS)
    async def test_id_that_is_none_of_ours_is_refused(self, store: Store, ident: str) -> None:
        conversation = await a_conversation(store)

        with pytest.raises(InvalidInput):
            await appended(store, conversation, a_question(), replace(a_question(), id=ident))

        assert await store.conversations.get(TENANT, conversation.id) == conversation

    @pytest.mark.parametrize("tokens", [[], [1], [1, 2, 3]])
    async def test_every_message_has_its_tokens(self, store: Store, tokens: list[int]) -> None:
        conversation = await a_conversation(store)
        said = [a_question(), an_answer()]

        with pytest.raises(InvalidInput):
            await store.conversations.append(TENANT, conversation.id, said, tokens=tokens)

        assert await store.conversations.get(TENANT, conversation.id) == conversation

    @pytest.mark.parametrize("name", [f"{CONVERSATION}_{7:032x}", "nobody's", ""])
    async def test_nothing_is_appended_to_what_is_not_there(self, store: Store, name: str) -> None:
        with pytest.raises(NotFound):
            await store.conversations.append(TENANT, name, [a_question()], tokens=[1])

    @pytest.mark.parametrize("begin", [a_queued_run, a_claimed_run, a_waiting_run])
    async def test_conversation_with_a_run_takes_nothing(
        self, store: Store, begin: Callable[[Store, Submission], Awaitable[object]]
    ) -> None:
        conversation = await a_conversation(store)
        await begin(store, a_submission(conversation))
        before = await all_kept(store, conversation)

        with pytest.raises(ConversationBusy):
            await appended(store, conversation, a_question())

        assert await all_kept(store, conversation) == before

    async def test_run_of_a_branch_is_in_nobodys_way(self, store: Store) -> None:
        source = await a_conversation(store)
        branch = await a_fork(store, source, at=0)
        await a_claimed_run(store, a_submission(branch))

        row = await appended(store, source, a_question())

        assert row.head == 1

    async def test_nothing_is_appended_to_a_closed_conversation(self, store: Store) -> None:
        conversation = await a_conversation(store)
        await store.conversations.set_closed(TENANT, conversation.id, "The end.")

        with pytest.raises(ConversationClosed):
            await appended(store, conversation, a_question())

        assert await read(store, conversation) == []

    async def test_what_has_failed_before_it_is_not_repeated(self, store: Store) -> None:
        conversation = await a_conversation(store)
        failed = await a_failed_run(store, a_submission(conversation))
        await appended(store, conversation, an_answer())

        with pytest.raises(ConversationMovedOn):
            await store.runs.retry(TENANT, failed.run.id, new_id(RUN), a_claimant())

    async def test_what_is_appended_is_shared_and_marked_like_any_message(self, store: Store) -> None:
        source = await a_conversation(store)
        await appended(store, source, a_question("1"), an_answer("2"))
        branch = await a_fork(store, source, at=2)

        row = await store.conversations.mark(TENANT, branch.id, [1], Flag.DELETED)
        await appended(store, branch, a_question("3"))

        assert row.version == 2
        assert await all_texts(store, source) == ["", "2"]
        assert await all_texts(store, branch) == ["", "2", "3"]

    async def test_of_many_who_append_the_same_at_once_one_does(self, store: Store) -> None:
        conversation = await a_conversation(store)
        said = [a_question("U"), an_answer("A")]

        rows = await asyncio.gather(*[appended(store, conversation, *said) for _ in range(6)])

        assert {(row.head, row.tokens) for row in rows} == {(2, 20)}
        assert await all_texts(store, conversation) == ["U", "A"]

    async def test_of_many_who_append_at_once_none_comes_between_anothers(self, store: Store) -> None:
        conversation = await a_conversation(store)

        await asyncio.gather(
            *[appended(store, conversation, a_question(f"U{i}"), an_answer(f"A{i}")) for i in range(6)]
        )

        kept = await read(store, conversation)
        texts = [message.text for message in kept]
        assert [message.number for message in kept] == list(range(1, 13))
        assert texts[1::2] == [f"A{text[1:]}" for text in texts[::2]]
        assert (await store.conversations.get(TENANT, conversation.id)).tokens == 120

    async def test_of_many_conversations_that_are_given_a_message_at_once_one_gets_it(
        self, store: Store
    ) -> None:
        agent, said = await an_agent(store), a_question()
        conversations = [await a_conversation(store, agent) for _ in range(6)]

        ends = await asyncio.gather(
            *[appended(store, each, said) for each in conversations], return_exceptions=True
        )

        refused = [end for end in ends if isinstance(end, TertuliaError)]
        assert len(refused) == 5
        assert all(isinstance(error, InvalidInput) for error in refused)
        assert [len(await read(store, each)) for each in conversations].count(1) == 1

    async def test_of_requests_and_appends_at_once_none_is_lost(self, store: Store) -> None:
        conversation = await a_conversation(store)

        ends = await asyncio.gather(
            *[store.runs.accept(a_submission(conversation, f"R{i}"), a_claimant()) for i in range(3)],
            *[appended(store, conversation, a_question(f"S{i}")) for i in range(3)],
            return_exceptions=True,
        )

        refused = [end for end in ends if isinstance(end, BaseException)]
        assert all(isinstance(error, ConversationBusy) for error in refused)
        kept = await read(store, conversation)
        assert [message.number for message in kept] == list(range(1, len(kept) + 1))
        assert len(kept) == 1 + 3 - len(refused)
        assert len(await store.conversations.pending(TENANT, conversation.id)) == 2

    @_FEW
    @given(texts=st.lists(any_text, min_size=1, max_size=4), author=any_text)
    async def test_any_text_can_be_appended(self, store: Store, texts: list[str], author: str) -> None:
        agents = await store.agents.page(TENANT, limit=1)
        conversation = await a_conversation(store, agents[0] if agents else None)
        said = [replace(a_question(text), author=author) for text in texts]

        await appended(store, conversation, *said)

        kept = await read(store, conversation)
        assert [(message.text, message.author) for message in kept] == [(text, author) for text in texts]

    @pytest.mark.parametrize("said", [{"content": text_content("\ud800")}, {"author": "\ud800"}])
    async def test_words_that_can_never_be_kept_are_not_appended(
        self, store: Store, said: dict[str, Any]
    ) -> None:
        conversation = await a_conversation(store)

        with pytest.raises(InvalidInput):
            await appended(store, conversation, a_question(), replace(a_question(), **said))

        assert await store.conversations.get(TENANT, conversation.id) == conversation
