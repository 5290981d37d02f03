"""Whatever can be said is kept as it was said."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tertulia.conversations import DEFAULT_TENANT, Commit, Frame
from tertulia.definitions import StoredAgent
from tertulia.parts import text_content
from tertulia.stores.base import Store
from tertulia.testing.builders import (
    a_claimant,
    a_claimed_run,
    a_conversation,
    a_queued_run,
    a_step,
    a_submission,
    all_texts,
    an_agent,
    an_answer,
    an_exchange,
)

TENANT = DEFAULT_TENANT

any_text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
"""What no door refuses: all of Unicode but NUL and halves of surrogate pairs."""

any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
)

_FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.asyncio
class ContentContract:
    """Texts and JSON come back as they went in."""

    @_FEW
    @given(asked=any_text, said=st.lists(any_text, max_size=4), author=any_text)
    async def test_any_text_is_kept(self, store: Store, asked: str, said: list[str], author: str) -> None:
        conversation = await a_conversation(store, await _some_agent(store))
        claim = await a_claimed_run(store, a_submission(conversation, asked))

        messages = tuple(an_answer(text, author=author) for text in said)
        await store.runs.commit(claim.lease, Commit(messages=messages), None)
        waiting = await a_queued_run(store, a_submission(conversation, asked))

        assert claim.input.text == asked
        kept = await store.conversations.messages(TENANT, conversation.id)
        assert [message.text for message in kept] == [asked, *said]
        assert [message.content for message in kept[1:]] == [message.content for message in messages]
        assert {message.author for message in kept[1:]} <= {author}
        [pending] = await store.conversations.pending(TENANT, conversation.id)
        assert (pending.id, pending.text) == (waiting.run.input_message_id, asked)

    @_FEW
    @given(options=st.dictionaries(any_text, any_json, max_size=4))
    async def test_any_options_are_kept(self, store: Store, options: dict[str, object]) -> None:
        conversation = await a_conversation(store, await _some_agent(store))
        submission = replace(a_submission(conversation), options=options)

        accepted = await store.runs.accept(submission, a_claimant())

        assert accepted.run.options == options
        assert (await store.runs.get(TENANT, submission.run_id)).options == options

    @pytest.mark.parametrize(
        "text",
        [
            "",
            " \n\t\r ",
            "👩‍🍳🏳️‍🌈 ğüşî 中文 عربى \u202e \ufeff \uffff \U0010ffff",
            '{"v": 1, "text": "not an envelope"}',
            "null",
            "[1, 2.50, 1e400]",
            "'; DROP TABLE messages; -- %s ? $1 :name \\",
            "word " * 200_000,
            "\U0001f600" * 250_000,
        ],
        ids=["empty", "blank", "scripts", "envelope", "null", "numbers", "sql", "long", "wide"],
    )
    async def test_awkward_texts_are_kept(self, store: Store, text: str) -> None:
        conversation = await a_conversation(store)
        claim = await a_claimed_run(store, a_submission(conversation, text))

        commit = Commit(
            messages=(an_answer(text),),
            steps=(a_step(output=text),),
            state=text,
            frames=(Frame(first_seq=0, last_seq=0, data=text),),
        )
        await store.runs.commit(claim.lease, commit, None)

        assert claim.input.content == text_content(text)
        assert await all_texts(store, conversation) == [text, text]
        assert (await store.conversations.get(TENANT, conversation.id)).state == text
        assert await store.runs.steps(TENANT, claim.run.id) == list(commit.steps)
        assert await store.runs.frames(TENANT, claim.run.id) == list(commit.frames)

    async def test_nothing_is_known_by_its_content(self, store: Store) -> None:
        conversation = await a_conversation(store)
        await an_exchange(store, conversation, "same", "same")
        claim = await a_claimed_run(store, a_submission(conversation, "same"))

        await store.runs.commit(claim.lease, Commit(messages=(an_answer("same"), an_answer("same"))), None)

        messages = await store.conversations.messages(TENANT, conversation.id)
        assert [(m.number, m.text) for m in messages] == [(i, "same") for i in range(1, 6)]
        assert len({m.id for m in messages}) == 5


async def _some_agent(store: Store) -> StoredAgent:
    agents = await store.agents.page(TENANT, limit=1)
    return agents[0] if agents else await an_agent(store)
