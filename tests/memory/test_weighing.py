"""What parts beyond text cost: tokens of the window, and bytes of what is kept ready."""

import pytest

from tertulia.memory.views.log import LogView
from tertulia.memory.shortening import LATER
from tertulia.memory.tokens import IMAGE_TOKENS, MESSAGE_TOKENS, estimate, tokens_of
from tertulia.parts import Media, Part, Reasoning, Text, ToolCall, ToolResult, Unknown
from tests.memory.log import ALog

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
