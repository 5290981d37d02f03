"""What can be asked of a store, as strategies: few names, so that requests meet."""

from dataclasses import dataclass, replace

from hypothesis import strategies as st

from tertulia.conversations import Commit, Frame, Multitask, Once, Stop
from tertulia.messages import Flag
from tertulia.testing.builders import (
    CANCELLED,
    COMPLETED,
    FAILED,
    HOUR_US,
    LATER_US,
    LONG_AGO_US,
    OVER_AT_ONCE,
    a_definition,
    a_digest,
    a_job,
    a_once,
    a_step,
    a_wait,
    an_answer,
)
from tertulia.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What sort of claimant is to ask."""

    lease_us: int = HOUR_US
    can: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A submission before its ids are known."""

    place: int
    """Which known conversation it names, or which agent a new one is for."""
    alias: str | None = None
    is_new: bool = False
    text: str
    key: str | None
    multitask: Multitask = "enqueue"
    expected_head: int | None = None
    reopens: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """A branch before its ids are known."""

    place: int
    """Which known conversation it branches off."""
    place_in_it: int
    is_wild: bool
    """Whether it may be a place that the conversation does not have."""
    alias: str | None
    again: int | None
    """Which known conversation's id it takes; ``None`` for a fresh one."""
    is_hidden: bool
    or_append: bool


places = st.integers(0, 100)
backs = st.integers(0, 3)
aliases = st.sampled_from([None, None, None, "one", "two"])
present = st.sampled_from([Wanted(), Wanted(), Wanted(lease_us=OVER_AT_ONCE), Wanted(can=False)])
claimants = st.none() | present
texts = st.sampled_from(["x", "x", "y"])
keys = st.sampled_from([None, "k", "l"])
requests = st.builds(
    Request,
    place=places,
    alias=aliases,
    is_new=st.sampled_from([False, False, True]),
    text=texts,
    key=keys,
    multitask=st.sampled_from(["enqueue", "enqueue", "enqueue", "reject", "interrupt", "rollback"]),
    expected_head=st.sampled_from([None] * 6 + [0, 1, 2]),
    reopens=st.sampled_from([False, False, True]),
)
plain_requests = st.builds(
    Request,
    place=places,
    text=st.sampled_from(["x", "y"]),
    key=st.sampled_from([None, "k"]),
    multitask=st.sampled_from(["enqueue", "enqueue", "interrupt", "rollback"]),
    reopens=st.sampled_from([False, False, True]),
)
forks = st.builds(
    Fork,
    place=places,
    place_in_it=st.integers(-1, 9),
    is_wild=st.sampled_from([False, False, False, True]),
    alias=aliases,
    again=st.sampled_from([None, None, None, 0, 1, 2, 3]),
    is_hidden=st.booleans(),
    or_append=st.booleans(),
)
stops = st.sampled_from([stop for stop in Stop if stop])
reasons = st.sampled_from([None, "done", "over"])
"""For which a conversation is closed; ``None`` opens it."""
flags = st.sampled_from([Flag.WITHDRAWN, Flag.DELETED])
numbers = st.lists(st.integers(0, 9), max_size=3)
steps = st.builds(
    lambda path, identity, ended_at: replace(
        a_step(path, output=f'"{identity}"'), identity=a_digest(identity), ended_at=ended_at
    ),
    path=st.sampled_from(["model/1", "model/2", "tool/1"]),
    identity=st.sampled_from(["same", "same", "changed"]),
    ended_at=st.sampled_from([0, 1, 1]),
)
frames = st.builds(
    lambda first, more, text: Frame(first_seq=first, last_seq=first + more, data=text),
    first=st.integers(0, 5),
    more=st.integers(0, 2),
    text=st.sampled_from(['["a"]', '["b"]']),
)
waits = st.builds(
    a_wait, path=st.sampled_from(["model/1", "tool/1"]), until=st.sampled_from([LONG_AGO_US, LATER_US])
)
commits = st.builds(
    Commit,
    steps=st.lists(steps, max_size=2).map(tuple),
    messages=st.integers(0, 2).map(lambda n: tuple(an_answer(f"answer {i}") for i in range(n))),
    state=st.sampled_from([None, '{"turn":1}', '{"turn":2}']),
    closes=st.sampled_from([None] * 6 + ["said so"]),
    usage=st.none()
    | st.builds(
        Usage,
        input_tokens=st.integers(0, 9),
        model_calls=st.integers(0, 2),
        cost=st.sampled_from([0.0, 0.25]),
    ),
    jobs=st.integers(0, 1).map(lambda n: tuple(a_job() for _ in range(n))),
    frames=st.lists(frames, max_size=2).map(tuple),
    ending=st.sampled_from([None, COMPLETED, COMPLETED, FAILED, FAILED, CANCELLED]),
).map(lambda commit: replace(commit, tokens=3 * len(commit.messages)))
definitions = st.builds(
    a_definition,
    name=st.sampled_from(["Agent 0", "Agent 1", "Another"]),
    first_message=st.sampled_from(["", "Hello!"]),
)


def once(key: str | None, text: str, *, what: str) -> Once | None:
    """Return what makes a write of this sort happen once; equal texts make equal requests."""
    return a_once(key, f"{what} {text}") if key else None
