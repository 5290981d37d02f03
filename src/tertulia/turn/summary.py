"""A summary of a conversation on demand: asked of the agent's model, and kept nowhere."""

from dataclasses import replace
from typing import Any, Final

import orjson

from tertulia.conversations import Conversation
from tertulia.errors import InvalidInput, ShapeMismatch
from tertulia.llms.base import Prompt, Shown
from tertulia.memory.views.base import View
from tertulia.shapes import Shape, parse_shape, with_key
from tertulia.turn.answer import whole_answer
from tertulia.turn.speaker import Speaker, persona

KEY: Final = "summary"
"""Where the summary stands in the object that is returned."""
REPAIRS: Final = 2

_WORDS: Final = "what has been said and reached so far, in a few sentences"
_REQUEST: Final = """\
Leave your part for a moment. Look at the conversation so far and at what it was for, and fill in the \
object that is described here from what was really said; leave empty what did not come up."""


async def summarize(conversation: Conversation, speaker: Speaker, view: View) -> dict[str, Any]:
    """Return an object with the keys of the agent's response shape, and ``summary``.

    Raises :class:`~tertulia.errors.InvalidInput` if nothing was said yet, what the model raises, and
    :class:`~tertulia.errors.ShapeMismatch` when its answer does not have that form after two repairs.
    """
    if conversation.head == 0:
        raise InvalidInput("nothing was said in this conversation yet; there is nothing to summarise")
    shape = _shape(speaker.agent.definition.response_shape)
    known = persona(speaker.agent, conversation.first_message or "")
    budget = max(speaker.room - known.own_tokens - speaker.spec_tokens, 1)
    passage = await view.show(conversation, newest=(), budget=budget, opening=known.opening)
    passage = passage.then((Shown(role="user", text=f"{_REQUEST}\n\n{shape.rule}"),))
    prompt = Prompt(
        messages=passage,
        settings=replace(speaker.settings, background=None, store=None),
        response_schema=shape.schema,
        tools=speaker.specs,
        may_call=False,
        wants_deltas=False,
    )
    for _ in range(REPAIRS):
        answer = (await whole_answer(speaker.llm, prompt)).text
        try:
            return _value(shape, answer)
        except ShapeMismatch as mismatch:
            mending = (Shown(role="assistant", text=answer), Shown(role="user", text=str(mismatch)))
            passage = passage.then(mending)
            prompt = replace(prompt, messages=passage)
    return _value(shape, (await whole_answer(speaker.llm, prompt)).text)


def _value(shape: Shape, answer: str) -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads(shape.validate(answer))
    return value


def _shape(raw: str) -> Shape:
    """Return the agent's response shape with one more key for the summary."""
    shape = parse_shape(with_key(raw, KEY, _WORDS))
    if shape is None:
        raise AssertionError("not reached")
    return shape
