"""Calls and results in what a model is shown of a log."""

from hypothesis import given
from hypothesis import strategies as st

from tertulia.errors import ContextTooLong
from tertulia.llms.base import Shown
from tertulia.memory.pairing import NO_RESULT, Pairing, shown_of
from tertulia.memory.views.log import LogView
from tertulia.messages import Flag, Message, Role
from tertulia.parts import Media, Part, Reasoning, Text, ToolCall, ToolResult, text_content
from tests.memory.log import ALog


def a_message(role: Role, *content: Part, flags: Flag = Flag.NONE) -> Message:
    return Message(id="msg", role=role, content=content, flags=flags)


def a_call(ident: str) -> ToolCall:
    return ToolCall(id=ident, name="add", arguments="{}")


def a_result(ident: str) -> ToolResult:
    return ToolResult(call_id=ident, name="add", text=f"result of {ident}")


def shown(*messages: Message) -> list[Shown]:
    pairing, found = Pairing(), list[Shown]()
    for message in messages:
        found += pairing.due(message)
        itself = pairing.shown(message)
        found += [] if itself is None else [itself]
    return [*found, *pairing.lacking()]


def test_plain_text_is_shown_as_nothing_but_text() -> None:
    assert shown_of(a_message("user", Text(text="Hi."))) == Shown(role="user", text="Hi.")


def test_what_was_thought_is_not_shown_in_later_turns() -> None:
    message = a_message("assistant", Reasoning(text="Hm.", opaque="x"), Text(text="Yes."))

    assert shown_of(message) == Shown(role="assistant", text="Yes.")


def test_media_are_shown_with_the_text_beside_them() -> None:
    image = Media(kind="image", url="https://example.org/a.png")
    message = a_message("user", Text(text="What is this?"), image)

    assert shown_of(message) == Shown(role="user", text="What is this?", parts=message.content)


def test_call_that_was_cut_off_is_given_a_result_that_says_so() -> None:
    log = (a_message("assistant", a_call("a"), a_call("b")), a_message("tool", a_result("a")))

    found = shown(*log, a_message("user", Text(text="Go on.")))

    assert [each.role for each in found] == ["assistant", "tool", "tool", "user"]
    assert found[1].parts == (a_result("a"),)
    assert found[2].parts == (ToolResult(call_id="b", name="add", text=NO_RESULT, is_error=True),)


def test_result_without_a_call_is_left_out() -> None:
    found = shown(a_message("tool", a_result("a")), a_message("user", Text(text="Go on.")))

    assert [each.role for each in found] == ["user"]


def test_second_result_of_one_call_is_left_out() -> None:
    found = shown(
        a_message("assistant", a_call("a")),
        a_message("tool", a_result("a")),
        a_message("tool", a_result("a")),
    )

    assert [each.role for each in found] == ["assistant", "tool"]


IDS = st.sampled_from("abc")
MESSAGES = st.one_of(
    st.builds(lambda text: a_message("user", Text(text=text)), st.text(max_size=5)),
    st.builds(lambda ids: a_message("assistant", *map(a_call, ids)), st.lists(IDS, unique=True)),
    st.builds(lambda ident: a_message("tool", a_result(ident)), IDS),
)
HIDDEN = st.sampled_from([Flag.NONE, Flag.NONE, Flag.NONE, Flag.WITHDRAWN, Flag.DELETED])


def _check_paired(found: list[Shown]) -> None:
    """Every call has its result before anything else is said, and every result its call."""
    due = list[str]()
    for each in found:
        if each.role == "tool":
            (result,) = each.parts
            assert isinstance(result, ToolResult)
            due.remove(result.call_id)
        else:
            assert not due
            due = [part.id for part in each.parts if isinstance(part, ToolCall)]
    assert not due


@given(st.lists(MESSAGES))
def test_every_log_is_shown_with_calls_and_results_in_pairs(log: list[Message]) -> None:
    found = shown(*log)

    _check_paired(found)
    texts = [message.text for message in log if message.role == "user"]
    assert [each.text for each in found if each.role == "user"] == texts


@given(
    log=st.lists(st.tuples(MESSAGES, HIDDEN), min_size=1, max_size=30),
    budget=st.integers(60, 300),
    looks=st.sets(st.integers(0, 30)),
)
async def test_kept_and_reread_logs_with_tools_are_shown_alike(
    log: list[tuple[Message, Flag]], budget: int, looks: set[int]
) -> None:
    kept = ALog()
    history = LogView(kept)

    for place, (message, flags) in enumerate([*log, (a_message("user", *text_content("?")), Flag.NONE)]):
        kept.add(message.role, message.content, flags=flags)
        if place in looks or place == len(log):
            grown, fresh = await _shown(history, kept, budget), await _shown(LogView(kept), kept, budget)

            assert grown == fresh
            _check_paired(grown or [])


async def _shown(history: LogView, log: ALog, budget: int) -> list[Shown] | None:
    """Return what is shown of a log; None if there is no room for it."""
    try:
        return list(await history.show(log.row, newest=(), budget=budget))
    except ContextTooLong:
        return None
