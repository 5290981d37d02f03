"""What a database holds, and what was seen from outside meanwhile: plain rows, to be compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationRow:
    """A conversation as its row tells it; ids are plain hexadecimal digits here and below."""

    id: str
    head: int
    next_run: int
    holder: str | None = None
    queued: int = 0
    parent_id: str | None = None
    base: int = 0
    """So many messages it shares with its parent; its own are numbered from the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRow:
    """Messages of one conversation that are another's as well."""

    conversation_id: str
    source_id: str
    """The conversation whose own they are."""
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow:
    """A message of a log."""

    conversation_id: str
    number: int
    id: str
    run_id: str | None
    turn: int
    role: str
    text: str
    is_withdrawn: bool = False
    is_erased: bool = False
    calls: tuple[str, ...] = ()
    """Ids of the uses of tools that it asks for; they differ within a turn."""
    results: tuple[str, ...] = ()
    """Ids of those whose results it gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run; times are microseconds since 1970."""

    id: str
    conversation_id: str
    n: int
    status: str
    epoch: int
    input_message_id: str
    input_number: int
    last_number: int
    created_at: int
    ended_at: int | None = None
    input: str | None = None
    """What its message says, as long as that has no number."""
    stop: int = 0
    """What it was asked for that is to stop it; above 0 it may end as cancelled only."""
    is_asking: bool = False
    """Whether somebody's decision about it is noted as missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a database holds."""

    conversations: Sequence[ConversationRow] = ()
    segments: Sequence[SegmentRow] = ()
    messages: Sequence[MessageRow] = ()
    runs: Sequence[RunRow] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A request that was made, however often it was sent under its key."""

    conversation_id: str
    text: str
    answer: str | None = None
    """What came back; ``None`` if nothing did."""
    is_acknowledged: bool = False
    """Whether we were told that the message is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """A process that ended, some time between two moments (microseconds since 1970)."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """What was seen from outside."""

    said: Sequence[Said] | None = None
    """Every request that was made; ``None`` if nobody took note."""
    calls: Mapping[str, int] | None = None
    """Calls of a model that never fails, by the text that they were to answer; ``None`` if not counted."""
    crashes: Sequence[Crash] = ()
    is_quiet: bool = False
    """Whether everything has had the time to end."""
    may_wait: bool = False
    """Whether runs may wait for a decision even so, and others behind them."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken."""

    rule: str
    detail: str
