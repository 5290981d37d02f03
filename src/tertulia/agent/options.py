"""What a program may ask of a run beside its message."""

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias, get_args

from typing_extensions import TypedDict

from tertulia.agent_settings import ModelSettings, RunLimits
from tertulia.conversations import Multitask
from tertulia.errors import InvalidInput
from tertulia.messages import Message
from tertulia.parts import Media, Part, Text
from tertulia.runtime import RunOptions

Said: TypeAlias = str | Message | Part | Sequence[str | Part]
"""What is said to an agent: a text, a user's message, or texts and media."""


class RunKeywords(TypedDict, total=False):
    """Keywords of ``run`` and ``run_stream``."""

    idempotency_key: str | None
    """The same call with the same key again gives the same answer, within 24 hours, and asks no model."""
    multitask_strategy: Multitask
    """What happens if a run holds the conversation: ``enqueue`` (default), ``reject``, ``interrupt``,
    ``rollback``."""
    timeout: float | None
    """Seconds, waiting in line included, after which the run is cancelled and ``RunTimedOut`` raised."""
    user: str | None
    """Whose words these are; a session that has a user needs none."""
    metadata: Mapping[str, str]
    """Kept with the run."""
    expected_head: int | None
    """Number of the newest message that the caller has seen; another one raises ``HeadMoved``."""
    settings: ModelSettings | Mapping[str, object] | None
    """Laid over the agent's own."""
    limits: RunLimits | Mapping[str, object] | None
    """Beside the agent's own; of both the tighter counts."""
    reopen: bool
    """Whether a conversation that has come to its end is opened again."""
    move_history: bool
    """Whether the conversation's history, kept elsewhere so far, is this agent's from now on."""


_KNOWN: Final = frozenset(RunKeywords.__annotations__)


def check_keywords(given: RunKeywords) -> None:
    """Raise ``TypeError`` for a keyword that is none."""
    for name in sorted(given.keys() - _KNOWN):
        raise TypeError(f"a run has no option {name!r}; there are: {', '.join(sorted(_KNOWN))}")


def options_of(given: RunKeywords, *, deltas: bool) -> RunOptions:
    """Return the options of a run; raises :class:`~tertulia.errors.InvalidInput`."""
    _check_values(given)
    settings, limits = given.get("settings"), given.get("limits")
    return RunOptions(
        settings=settings if isinstance(settings, ModelSettings) else ModelSettings.parse(settings or {}),
        limits=limits if isinstance(limits, RunLimits) else RunLimits.parse(limits or {}),
        multitask=given.get("multitask_strategy", "enqueue"),
        reopens=given.get("reopen", False),
        expected_head=given.get("expected_head"),
        idempotency_key=given.get("idempotency_key"),
        metadata=given.get("metadata") or {},
        deltas=deltas,
        moves_history=given.get("move_history", False),
    )


def _check_values(given: RunKeywords) -> None:
    strategy, seconds = given.get("multitask_strategy", "enqueue"), given.get("timeout")
    if strategy not in get_args(Multitask):
        raise InvalidInput(f"multitask_strategy is one of: {', '.join(get_args(Multitask))}")
    if seconds is not None and (not isinstance(seconds, int | float) or not seconds > 0):
        raise InvalidInput("timeout is a number of seconds above 0, or None")
    check_user(given.get("user"))
    metadata = given.get("metadata") or {}
    if not isinstance(metadata, Mapping) or not all(
        isinstance(name, str) and isinstance(value, str) for name, value in metadata.items()
    ):
        raise InvalidInput("metadata is texts by names that are texts")


def check_user(user: object) -> None:
    """Raise :class:`~tertulia.errors.InvalidInput` for what is no id of a user."""
    if user is not None and not (isinstance(user, str) and user and user.isprintable()):
        raise InvalidInput("a user is named by a printable text, or None")


def said_of(given: Said) -> tuple[Part, ...]:
    """Return the content of what is said; raises :class:`~tertulia.errors.InvalidInput` if it is none."""
    if isinstance(given, Message):
        if given.role != "user":
            raise InvalidInput("only a message with the role user can be said to an agent")
        return given.content
    if isinstance(given, str):
        return (Text(text=given),)
    parts = [given] if isinstance(given, Text | Media) else given
    if not isinstance(parts, Sequence) or not all(isinstance(part, str | Text | Media) for part in parts):
        raise InvalidInput("say a text, a message, or a list of texts and media")
    return tuple(Text(text=part) if isinstance(part, str) else part for part in parts)


def messages_of(given: Sequence[Message | str] | Message | str) -> tuple[Message, ...]:
    """Return messages as they were given, one alone or several; texts are the user's."""
    several = [given] if isinstance(given, str | Message) else given
    if not isinstance(several, Sequence) or not all(isinstance(each, str | Message) for each in several):
        raise InvalidInput("give messages, or texts that a user has said")
    return tuple(
        Message.from_dict({"role": "user", "content": each}) if isinstance(each, str) else each
        for each in several
    )
