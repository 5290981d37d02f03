"""The port to context providers: what an agent is told from beyond its conversation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from tertulia.memory.sessions import Outcome, ProviderRun
from tertulia.messages import Message
from tertulia.tools.base import Tool

ContextTool: TypeAlias = Tool | Callable[..., Any]
"""A tool, or a function that is made one as :func:`tertulia.tool` does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """What a model is to know in one run, and only there: nothing of it enters the conversation."""

    instructions: str = ""
    """Comes after the agent's own. What changes with every message had better be a message: whatever
    stands before the history has providers read all of it anew when it changes."""
    messages: Sequence[Message | str] = ()
    """Shown just before the message that is to be answered; a text is shown as the user's, so it says
    itself that it is quoted."""
    tools: Sequence[ContextTool] = ()


class ContextProvider(Protocol):
    """Knows something from beyond this conversation, and learns from it.

    Laws: one object serves any number of sessions and users, also at the same time, so that what it
    keeps of one of them stands in ``run.state`` or ``run.user_state``, never on itself. What it raises
    is reported and costs neither the answer nor the history; so does taking longer than 10 seconds, and
    giving what no model can be shown: no text, a use of a tool without its result, two tools of one name.
    Providers are asked in the order in which the agent lists them, and told in the reverse order. Where
    another session of its user has changed what it keeps meanwhile, it is asked or told again with that.
    """

    @property
    def name(self) -> str:
        """Names its state in sessions; one agent has no two providers of one name.

        It begins with none of ``view:``, ``copied:`` and ``history:``.
        """
        return type(self).__name__

    async def before_run(self, run: ProviderRun) -> RunContext | None:
        """Return what the model should know for this run; None for nothing."""
        return None

    async def after_run(self, run: ProviderRun, outcome: Outcome) -> None:
        """Take in a run that was answered and is kept, or has failed; may be called twice for the same one.

        Of one that was cancelled nothing is told.
        """
        return

    async def close(self) -> None:
        """Let go of what was opened, not of what was lent; may be called twice."""
        return
