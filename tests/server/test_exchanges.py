"""Whoever follows the links of a conversation's list sees every message once, and comes to an end."""

import asyncio
from itertools import count

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis.strategies import booleans, integers, lists

from tertulia.conversations import DEFAULT_TENANT, Commit
from tertulia.messages import Flag, Message, Role
from tertulia.parts import ToolCall, text_content
from tertulia.server.exchanges import pair, turn_page, with_pending
from tertulia.server.lists import Page, answer
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import (
    COMPLETED,
    a_claimed_run,
    a_conversation,
    a_failed_run,
    a_queued_run,
    a_submission,
    an_answer,
    an_exchange,
)


def a_message(
    number: int, role: Role, text: str, *, flags: Flag = Flag.NONE, turn: int = 1, calls: bool = False
) -> Message:
    said = text_content(text) if text or not calls else ()
    call = (ToolCall(id="c1", name="add", arguments="{}"),) if calls else ()
    return Message(
        id=f"m{number}{text}", role=role, content=(*said, *call), number=number, flags=flags, turn=turn
    )


async def followed(*, answered: list[bool], pending: int, limit: int) -> list[list[str]]:
    """Return the pages of a conversation with these exchanges, failed or not, and then messages in line."""
    store = InMemoryStore()
    conversation = await a_conversation(store)
    for number, is_answered in enumerate(answered):
        if is_answered:
            await an_exchange(store, conversation, str(number))
        else:
            await a_failed_run(store, a_submission(conversation, str(number)))
    said = len(answered)
    if pending:
        await a_claimed_run(store, a_submission(conversation, str(said)))
        for number in range(said + 1, said + 1 + pending):
            await a_queued_run(store, a_submission(conversation, str(number)))

    pages, after = [], 0
    for turned in count():
        assert turned <= said + pending + 1, "it never ends"
        found, following = await turn_page(
            store.conversations, DEFAULT_TENANT, conversation.id, after=after, limit=limit
        )
        pages.append([exchange.asked.text for exchange in found])
        if following is None:
            break
        assert following > after
        after = following
    return pages


@given(answered=lists(booleans(), max_size=9), pending=integers(0, 9), limit=integers(1, 7))
def test_the_pages_together_are_the_whole_whoever_waits(
    answered: list[bool], pending: int, limit: int
) -> None:
    pages = asyncio.run(followed(answered=answered, pending=pending, limit=limit))

    asked = len(answered) + bool(pending)
    assert [text for page in pages for text in page] == [str(n) for n in range(asked + pending)]
    assert all(len(page) <= limit for page in pages[:-1])
    assert len(pages[-1]) <= limit + pending


async def test_a_list_that_goes_round_in_circles_is_cut_off() -> None:
    async def round_and_round(after: str | None, limit: int) -> Page:
        return Page(rows=[after], after="1" if after == "0" else "0")

    request = Request({"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""})

    response = await answer(request, round_and_round, after=None, limit=None)
    with pytest.raises(RuntimeError, match="begins"):
        await response(request.scope, silence, discard)


async def silence() -> dict[str, object]:
    await asyncio.Event().wait()
    return {}


async def discard(message: object) -> None:
    pass


async def test_a_page_that_links_to_itself_is_our_fault() -> None:
    async def again(after: str | None, limit: int) -> Page:
        return Page(rows=[1], after="0")

    request = Request({"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""})

    with pytest.raises(RuntimeError, match="begins"):
        await answer(request, again, after="0", limit=1)


def test_what_follows_a_message_answers_it() -> None:
    log = [
        a_message(2, "assistant", "to an earlier page"),
        a_message(3, "user", "failed"),
        a_message(4, "user", "asked"),
        a_message(5, "assistant", "one"),
        a_message(6, "assistant", "two", turn=2),
    ]

    pairs = pair(log)

    assert [(one.asked.text, one.answer, one.last_number) for one in pairs] == [
        ("failed", None, 3),
        ("asked", "one\n\ntwo", 6),
    ]


def test_of_a_turn_that_used_tools_its_last_words_are_the_answer() -> None:
    log = [
        a_message(1, "user", "used tools"),
        a_message(2, "assistant", "I look.", calls=True),
        a_message(3, "tool", "result"),
        a_message(4, "assistant", "", calls=True),
        a_message(5, "tool", "result"),
        a_message(6, "assistant", "Forty."),
        a_message(7, "user", "failed on the way"),
        a_message(8, "assistant", "", calls=True),
        a_message(9, "tool", "result"),
        a_message(10, "user", "said nothing"),
        a_message(11, "assistant", ""),
    ]

    pairs = pair(log)

    assert [(one.asked.text, one.answer, one.last_number) for one in pairs] == [
        ("used tools", "Forty.", 6),
        ("failed on the way", None, 9),
        ("said nothing", "", 11),
    ]


@pytest.mark.parametrize("limit", [1, 2, 9])
async def test_answers_that_used_many_tools_are_told_whole(limit: int) -> None:
    store = InMemoryStore()
    conversation = await a_conversation(store)
    for number in range(3):
        claim = await a_claimed_run(store, a_submission(conversation, str(number)))
        used = tuple(an_answer("", turn=1) for _ in range(40))
        ended = Commit(messages=(*used, an_answer(f"answer {number}", turn=1)), ending=COMPLETED)
        await store.runs.commit(claim.lease, ended, None)

    told: list[tuple[str, str | None]] = []
    after: int | None = 0
    while after is not None:
        found, after = await turn_page(
            store.conversations, DEFAULT_TENANT, conversation.id, after=after, limit=limit
        )
        told += [(exchange.asked.text, exchange.answer) for exchange in found]

    assert told == [(str(number), f"answer {number}") for number in range(3)]


def test_what_was_withdrawn_or_deleted_is_not_told() -> None:
    log = [
        a_message(1, "user", "a", flags=Flag.WITHDRAWN),
        a_message(2, "assistant", "b", flags=Flag.WITHDRAWN),
        a_message(3, "user", "c"),
        a_message(4, "assistant", "", flags=Flag.DELETED),
    ]

    assert [(one.asked.text, one.answer) for one in pair(log)] == [("c", None)]


def test_a_message_that_got_its_number_meanwhile_is_told_once() -> None:
    numbered, waiting = a_message(1, "user", "a"), a_message(0, "user", "b")

    told = with_pending(pair([numbered]), [numbered, waiting])

    assert [one.asked.text for one in told] == ["a", "b"]
