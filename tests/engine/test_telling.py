"""Events come out of a frame as they went in, and take little room there."""

import asyncio
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from tertulia.conversations import Frame, Run, RunStatus, Wait
from tertulia.engine.telling import Recall, decode, encode
from tertulia.events import (
    Event,
    Numbered,
    ProviderFailed,
    ReasoningDelta,
    RunFinished,
    RunStarted,
    RunWaiting,
    StepRestarted,
    TextDelta,
    ToolCalled,
    ToolFinished,
    TurnFinished,
    TurnStarted,
)
from tertulia.messages import Message
from tertulia.testing.builders import a_wait, an_answer

RUN = Run(tenant=0, id="run", conversation_id="conv", n=1, status=RunStatus.COMPLETED, performer="agent")
ANSWER = replace(an_answer("Forty.", author="Chef"), number=2)
END = RunFinished(run_id="run", conversation_id="conv", status=RunStatus.COMPLETED, messages=(ANSWER,))

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.sampled_from(
    ["run.started", "run.finished", "step.restarted"]
)
authors = st.sampled_from(["Chef", "Chef", "Baker"])
waits = st.builds(a_wait, path=texts, subject=st.sampled_from(["", '{"tool":"mail","arguments":{}}']))
events = st.one_of(
    st.builds(TextDelta, text=texts, author=authors),
    st.builds(ReasoningDelta, text=texts, author=authors),
    st.builds(StepRestarted, path=texts),
    st.builds(TurnStarted, turn=st.integers(1, 3), author=authors, reason=texts),
    st.builds(ToolCalled, turn=st.integers(1, 3), author=authors, call_id=texts, name=texts, arguments=texts),
    st.builds(
        ToolFinished,
        turn=st.integers(1, 3),
        author=authors,
        call_id=texts,
        name=texts,
        text=texts,
        is_error=st.booleans(),
    ),
    st.builds(
        RunStarted,
        run_id=st.just("run"),
        conversation_id=st.just("conv"),
        input_number=st.integers(1, 3),
        epoch=st.integers(1, 3),
    ),
    st.builds(RunWaiting, run_id=st.just("run"), conversation_id=st.just("conv"), wait=waits),
    st.just(TurnFinished(turn=1, message=ANSWER)),
    st.builds(ProviderFailed, provider=texts, stage=st.sampled_from(["append", "after_run"]), message=texts),
    st.builds(
        replace,
        st.just(END),
        closed=st.sampled_from([None, "The goal is reached."]),
        finish_reason=st.sampled_from(["", "stop", "length"]),
    ),
)


class Remembering(Recall):
    """Knows the one message, and how the run has ended."""

    @override
    async def message(self, number: int) -> Message | None:
        return ANSWER if number == ANSWER.number else None

    @override
    async def end(self) -> RunFinished:
        return END


def numbered(*told: Event) -> list[Numbered]:
    return [Numbered(seq, event) for seq, event in enumerate(told, start=7)]


def decoded(frame: Frame, *, after: int = -1) -> list[Numbered]:
    return asyncio.run(decode(frame, RUN, Remembering(), after=after))


@given(told=st.lists(events, min_size=1, max_size=8))
def test_events_come_out_of_a_frame_as_they_went_in(told: list[Event]) -> None:
    frame = encode(numbered(*told))

    assert (frame.first_seq, frame.last_seq) == (7, 6 + len(told))
    assert decoded(frame) == numbered(*told)
    assert decoded(frame, after=7) == numbered(*told)[1:]


def test_pieces_of_text_and_of_thoughts_take_little_more_room_than_they_have() -> None:
    thoughts = [ReasoningDelta(text="hmm", author="Chef") for _ in range(3)]
    said = [TextDelta(text="well", author="Chef") for _ in range(3)]

    frame = encode(numbered(*thoughts, *said))

    assert frame.data == '["Chef",["hmm"],["hmm"],["hmm"],"well","well","well"]'


def test_text_of_a_message_that_is_kept_is_not_kept_twice() -> None:
    frame = encode(numbered(TextDelta(text="Forty.", author="Chef"), TurnFinished(turn=1, message=ANSWER)))

    assert "Forty" not in frame.data
    assert decoded(frame)[0].event == TextDelta(text="Forty.", author="Chef")


@pytest.mark.parametrize(
    ("short", "event"),
    [
        (["run.finished", "completed"], END),
        (["run.finished", "completed", "The goal."], replace(END, closed="The goal.")),
        (
            ["run.waiting", "turn", "turn/1", "Your turn.", 9],
            RunWaiting(
                run_id="run",
                conversation_id="conv",
                wait=Wait(kind="turn", path="turn/1", message="Your turn.", until=9),
            ),
        ),
    ],
)
def test_events_that_an_earlier_version_has_kept_are_read(short: list[object], event: Event) -> None:
    frame = Frame(first_seq=7, last_seq=7, data=orjson.dumps(["Chef", short]).decode())

    assert decoded(frame) == numbered(event)


def test_events_that_only_a_later_version_knows_are_passed_over() -> None:
    frame = Frame(first_seq=7, last_seq=8, data='["Chef",["tea.served",1,{"with":"milk"}],"well"]')

    assert decoded(frame) == [Numbered(8, TextDelta(text="well", author="Chef"))]


def test_half_a_surrogate_pair_in_what_was_told_is_kept_as_something_that_can_be() -> None:
    frame = encode(
        numbered(ReasoningDelta(text="\ud83d", author="Chef"), TextDelta(text="\ude00", author="Chef"))
    )

    assert [each.event for each in decoded(frame)] == [
        ReasoningDelta(text="?", author="Chef"),
        TextDelta(text="?", author="Chef"),
    ]
