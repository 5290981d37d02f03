"""What parts beyond text cost: tokens of the window, and bytes of what is kept ready."""

import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from tertulia.ids import MESSAGE, new_id
from tertulia.memory.reducers import TruncationReducer
from tertulia.memory.shortening import LATER
from tertulia.memory.tokens import IMAGE_TOKENS, MESSAGE_TOKENS, estimate, tokens_of
from tertulia.memory.views.base import View
from tertulia.memory.views.log import LogView
from tertulia.memory.views.reduced import ReducedView
from tertulia.parts import Media, Part, Reasoning, Text, ToolCall, ToolResult, Unknown
from tertulia.stores.in_memory import InMemoryStore
from tertulia.testing.builders import a_conversation, an_agent
from tests.memory.log import ALog
from tests.memory.reducers.talk import Talk

ARGUMENTS = '{"what": "' + "word " * 1000 + '"}'
CALL = ToolCall(id="a", name="add", arguments=ARGUMENTS)
RESULT = ToolResult(call_id="a", name="add", text="word " * 1000)
FILE = Media(kind="file", media_type="application/pdf", base64="a" * 100_000)


@pytest.mark.parametrize(
    ("part", "least", "most"),
    [
        (CALL, estimate(ARGUMENTS), estimate(ARGUMENTS) + 20),
        (RESULT, estimate(RESULT.text[:LATER]), estimate(RESULT.text[:LATER]) + 50),
        (Media(kind="image", base64="a" * 100_000), IMAGE_TOKENS, IMAGE_TOKENS),
        (FILE, IMAGE_TOKENS + 1000, IMAGE_TOKENS + 1000),
        (Reasoning(text="word " * 1000), 0, 0),
        (Unknown(raw={"type": "new"}), 0, 0),
    ],
)
def test_part_is_counted_as_what_a_model_is_shown_of_it(part: Part, least: int, most: int) -> None:
    tokens = tokens_of((part,)) - MESSAGE_TOKENS

    assert least <= tokens <= most


@pytest.mark.parametrize("heavy", [CALL, FILE], ids=["call", "file"])
async def test_what_is_kept_ready_is_bounded_by_arguments_and_media_too(heavy: Part) -> None:
    log = ALog()
    log.add("user", (Text(text="?"), heavy) if isinstance(heavy, Media) else (Text(text="?"),))
    if isinstance(heavy, ToolCall):
        log.add("assistant", (heavy,))
    roomy, narrow = LogView(log), LogView(log, cache_bytes=6_000)

    for _ in range(2):
        await roomy.show(log.row, newest=(), budget=100_000)
    reads = log.reads
    for _ in range(2):
        await narrow.show(log.row, newest=(), budget=100_000)

    assert (reads, log.reads - reads) == (1, 2)


CACHE: Final = 300_000
VIEWS: Final[dict[str, Callable[[InMemoryStore], View]]] = {
    "log": lambda store: LogView(store.conversations, cache_bytes=CACHE),
    "reduced": lambda store: ReducedView(
        store.conversations, store.states, TruncationReducer(1000), cache_bytes=CACHE
    ),
}


@pytest.mark.parametrize("turns", [1, 20])
@pytest.mark.parametrize("make", VIEWS.values(), ids=VIEWS)
async def test_what_is_kept_ready_takes_no_more_than_it_may(
    make: Callable[[InMemoryStore], View], turns: int
) -> None:
    store = InMemoryStore()
    agent, view = await an_agent(store), make(store)
    rows = [await a_conversation(store, agent) for _ in range(600 // turns)]
    for place, row in enumerate(rows):
        said = [replace(each, id=new_id(MESSAGE), number=0) for each in Talk().turns(turns)]
        rows[place] = await store.conversations.append(0, row.id, said, tokens=[5] * len(said))

    gc.collect()
    tracemalloc.start()
    for row in rows:
        await view.show(row, newest=(), budget=10_000)
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert CACHE / 4 < taken < CACHE
