"""Windows that begin with a message that is hidden."""

from contextlib import suppress

from tertulia.errors import ContextTooLong
from tertulia.memory.views.log import LogView
from tertulia.messages import Flag, Role
from tertulia.parts import Part, Text, ToolCall
from tests.memory.log import ALog


async def test_window_that_begins_with_a_hidden_message_shows_no_result_without_its_call() -> None:
    said: list[tuple[Role, tuple[Part, ...], Flag]] = [
        ("user", (Text(text="xxxxx"),), Flag.NONE),
        ("assistant", (ToolCall(id="c", name="add", arguments="{}"),), Flag.NONE),  # stopped, and kept
        ("user", (Text(text="xxxxx"),), Flag.WITHDRAWN),  # rolled back
        ("assistant", (Text(text="xxxxx"),), Flag.WITHDRAWN),
        ("user", (Text(text="?"),), Flag.NONE),
    ]
    for budget in range(15, 60):
        log = ALog()
        history = LogView(log)
        for role, content, flags in said:
            log.add(role, content, flags=flags)
            with suppress(ContextTooLong):
                grown = list(await history.show(log.row, newest=(), budget=budget))
                assert grown == list(await LogView(log).show(log.row, newest=(), budget=budget)), budget
