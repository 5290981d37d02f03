from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from tertulia.memory.history.trimming import beginning_of, has_open_calls
from tertulia.messages import Message, Role
from tertulia.parts import Part, Text, ToolCall, ToolResult
from tertulia.testing.history_contract import a_message


def calling(*names: str) -> Message:
    return replace(
        a_message(role="assistant"),
        content=tuple(ToolCall(id=name, name="look", arguments="{}") for name in names),
    )


def result(name: str) -> Message:
    return replace(a_message(role="tool"), content=(ToolResult(call_id=name, name="look", text="seen"),))


@dataclass(frozen=True)
class Drawn:
    """A message to be made."""

    role: Role
    ids: tuple[str, ...]

    def made(self) -> Message:
        content: tuple[Part, ...] = (Text(text="hi"),)
        if self.role == "assistant":
            content += tuple(ToolCall(id=each, name="look", arguments="{}") for each in self.ids)
        if self.role == "tool":
            content = tuple(ToolResult(call_id=each, name="look", text="seen") for each in self.ids[:1])
        return replace(a_message(role=self.role), content=content)


some_ids = st.lists(st.sampled_from("abc"), max_size=2, unique=True).map(tuple)
histories = st.lists(
    st.builds(Drawn, role=st.sampled_from(("user", "assistant", "tool", "system")), ids=some_ids),
    max_size=14,
)


def pairs(messages: Sequence[Message]) -> set[tuple[int, int]]:
    """Return the places of calls and their results, found from the results back."""
    found: set[tuple[int, int]] = set()
    for place, message in enumerate(messages):
        for part in message.content:
            if not isinstance(part, ToolResult):
                continue
            before = [
                at
                for at in range(place)
                if any(isinstance(p, ToolCall) and p.id == part.call_id for p in messages[at].content)
            ]
            if before and before[-1] not in {c for c, r in found if _answers(messages[r], part.call_id)}:
                found.add((before[-1], place))
    return found


def _answers(message: Message, name: str) -> bool:
    return any(isinstance(part, ToolResult) and part.call_id == name for part in message.content)


@given(drawn=histories, upto=st.integers(-1, 15))
def test_beginning_never_parts_a_call_from_its_result(drawn: list[Drawn], upto: int) -> None:
    messages = [each.made() for each in drawn]

    place = beginning_of(messages, upto=upto)

    assert 0 <= place <= max(upto, 0)
    assert place == 0 or messages[place].role == "user"
    assert [pair for pair in pairs(messages) if pair[0] < place <= pair[1]] == []


@given(drawn=histories, upto=st.integers(0, 15))
def test_as_much_goes_as_can(drawn: list[Drawn], upto: int) -> None:
    messages = [each.made() for each in drawn]

    place = beginning_of(messages, upto=upto)

    found = pairs(messages)
    for further in range(place + 1, min(upto, len(messages) - 1) + 1):
        is_parted = any(call < further <= answer for call, answer in found)
        assert messages[further].role != "user" or is_parted


@given(drawn=histories, upto=st.integers(0, 15))
def test_what_comes_later_changes_nothing_where_no_call_is_open(drawn: list[Drawn], upto: int) -> None:
    messages = [each.made() for each in drawn]
    front = messages[: upto + 1]

    if not has_open_calls(front):
        assert beginning_of(front, upto=upto) == beginning_of(messages, upto=upto)


def test_result_that_comes_much_later_keeps_its_call() -> None:
    messages = [calling("a"), a_message(), a_message(), result("a"), a_message()]

    assert beginning_of(messages, upto=3) == 0
    assert beginning_of(messages, upto=4) == 4


def test_call_that_was_never_answered_holds_nothing() -> None:
    messages = [a_message(), calling("a"), a_message(), calling("a"), result("a"), a_message()]

    assert beginning_of(messages, upto=2) == 2
    assert beginning_of(messages, upto=5) == 5


def test_parallel_calls_go_together() -> None:
    messages = [calling("a", "b"), result("a"), a_message(), result("b"), a_message()]

    assert beginning_of(messages, upto=3) == 0


def test_nothing_goes_where_no_user_speaks() -> None:
    messages = [a_message(role="assistant") for _ in range(5)]

    assert beginning_of(messages, upto=4) == 0
    assert beginning_of([], upto=4) == 0
