"""Taking a turn: from the message that a run answers to what is to be kept of the answer."""

from tertulia.engine.active import ActiveRun
from tertulia.engine.turns import Turn
from tertulia.errors import ConversationClosed
from tertulia.events import TurnStarted
from tertulia.memory.views.base import View
from tertulia.shapes import parse_shape
from tertulia.turn.briefing import NOTHING, Briefing
from tertulia.turn.ending import ending_of
from tertulia.turn.linking import check_owner
from tertulia.turn.showing import Showing
from tertulia.turn.speaker import Speaker
from tertulia.turn.talk import Talk


async def take(
    run: ActiveRun, speaker: Speaker, view: View, *, briefing: Briefing = NOTHING, number: int = 1
) -> Turn:
    """Let an agent answer, using tools as it likes, and return what is to be kept.

    Raises what the model raises, :class:`~tertulia.errors.ContextTooLong`,
    :class:`~tertulia.errors.ShapeMismatch` when the answer does not have the response shape even
    after two repairs, :class:`~tertulia.errors.BudgetExceeded` when the run has used up what it was
    allowed, :class:`~tertulia.errors.ConversationClosed` when the conversation has come to its end
    since the message was accepted, and :class:`~tertulia.errors.SessionMismatch` when its history is
    kept elsewhere than where this agent looks for it.
    """
    if run.conversation.closed is not None:
        raise ConversationClosed(f"this conversation has come to its end: {run.conversation.closed}")
    await check_owner(run, speaker, view.owner)
    run.emit(TurnStarted(turn=number, author=speaker.name))
    shape = parse_shape(speaker.agent.definition.response_shape)
    showing = Showing(run, speaker, view, briefing, f"turn/{number}")
    talk = Talk(run, speaker, showing, shape, number)
    run.when_stopped(talk.partial, done=talk.done)
    answer = await talk.answered()
    ending = await ending_of(talk, answer)
    return talk.turn(answer, state=ending.state, closes=ending.reason)
