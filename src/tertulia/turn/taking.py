"""Taking a turn: from the message that a run answers to what is to be kept of the answer."""

from tertulia.engine.active import ActiveRun
from tertulia.engine.turns import Turn
from tertulia.errors import ConversationClosed
from tertulia.events import TurnStarted
from tertulia.memory.views.log import LogView
from tertulia.turn.ending import ending_of
from tertulia.turn.speaker import Speaker, persona
from tertulia.turn.talk import Talk


async def take(run: ActiveRun, speaker: Speaker, history: LogView, *, number: int = 1) -> Turn:
    """Let an agent answer, using tools as it likes, and return what is to be kept.

    Raises what the model raises, :class:`~tertulia.errors.ContextTooLong`,
    :class:`~tertulia.errors.ShapeMismatch` when the answer does not have the response shape even
    after two repairs, :class:`~tertulia.errors.BudgetExceeded` when the run has used up what it was
    allowed, and :class:`~tertulia.errors.ConversationClosed` when the conversation has come to its
    end since the message was accepted.
    """
    if run.conversation.closed is not None:
        raise ConversationClosed(f"this conversation has come to its end: {run.conversation.closed}")
    run.emit(TurnStarted(turn=number, author=speaker.name))
    talk = Talk(run, speaker, history, persona(speaker.agent, run.conversation.first_message or ""), number)
    run.when_stopped(talk.partial, done=talk.done)
    answer = await talk.answered()
    ending = await ending_of(talk, answer)
    return talk.turn(answer, state=ending.state, closes=ending.reason)
