"""Whether a conversation has come to its end with an answer; agents have to be set to end at all."""

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

import orjson

from tertulia.engine.turns import Plan, StepResult
from tertulia.errors import BudgetExceeded, ModelError, ShapeMismatch
from tertulia.llms.base import Prompt, Shown
from tertulia.messages import clean_text
from tertulia.shapes import parse_shape
from tertulia.turn.answer import Answer, whole_answer
from tertulia.turn.limits import call_seconds, check_limits
from tertulia.turn.talk import Talk

_QUESTION: Final = """\
Leave your part for a moment and look at the conversation from outside. Has it come to its end: has \
what it was for been reached, or has the person taken leave? Answer with a JSON object that has the \
keys "is_over" (true or false) and "reason" (one short sentence, without names). In doubt it goes on."""
_VERDICT: Final = {
    "type": "object",
    "properties": {"is_over": {"type": "boolean"}, "reason": {"type": "string"}},
    "required": ["is_over", "reason"],
    "additionalProperties": False,
}
_LONGEST: Final = 300
_TOKENS: Final = 400
_SECONDS: Final = 20.0
"""An answer that is there already does not wait longer for what a model thinks of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What an answer means for its conversation."""

    state: str | None = None
    """New state of the conversation; ``None`` leaves it."""
    reason: str | None = None
    """Why it has come to its end; ``None`` if it goes on."""


_GOES_ON: Final = Ending()


async def ending_of(talk: Talk, answer: Answer) -> Ending:
    """Return what a turn's last answer means for the conversation; nothing for an agent without an end.

    A model that cannot be asked, or does not answer as it should, ends nothing.
    """
    settings = talk.speaker.settings
    if settings.max_turns is None and not settings.check_end:
        return _GOES_ON
    state, reason = None, None
    if settings.max_turns is not None:
        turns = _turns(talk.run.conversation.state) + 1
        is_last = turns >= settings.max_turns
        reason = f"it was made for {_counted(settings.max_turns)}" if is_last else None
        # Once it is opened again, it may go on for as long.
        state = _with_turns(talk.run.conversation.state, 0 if is_last else turns)
    if reason is None and settings.check_end:
        reason = await _judged(talk, answer)
    return Ending(state=state, reason=reason)


async def _judged(talk: Talk, answer: Answer) -> str | None:
    """Return why a model thinks that this was the end; ``None`` if it does not."""
    path = f"{talk.path}/end"
    try:
        check_limits(talk.run, talk.speaker.limits, path)
    except BudgetExceeded:
        return None
    identity = sha256(f"end\n{talk.speaker.agent.id}\n{talk.speaker.agent.version}".encode()).digest()
    seconds = min(call_seconds(talk.run, talk.speaker), _SECONDS)
    plan = Plan(kind="model", identity=identity, within_seconds=seconds)

    async def work() -> StepResult:
        try:
            return await _asked(talk, answer, plan)
        except ModelError as error:
            return StepResult(output=orjson.dumps({"v": 1, "failed": error.code}).decode())

    kept = orjson.loads((await talk.run.step(path, work, plan)).output)
    if not kept.get("is_over"):
        return None
    return clean_text(str(kept.get("reason") or "")).strip()[:_LONGEST] or "its purpose is met"


async def _asked(talk: Talk, answer: Answer, plan: Plan) -> StepResult:
    question = Shown(role="user", text=_QUESTION)
    settings = replace(
        talk.speaker.settings,
        max_tokens=_TOKENS,
        timeout=plan.within_seconds,
        background=None,
        store=None,
    )
    prompt = Prompt(
        messages=(await talk.showing.whole()).then((answer.shown, question)),
        settings=settings,
        response_schema=_VERDICT,
        tools=talk.speaker.specs,
        aside=talk.showing.aside,
        may_call=False,
        wants_deltas=False,
    )
    finished = await whole_answer(talk.speaker.llm, prompt)
    return StepResult(output=orjson.dumps({"v": 1, **_verdict(finished.text)}).decode(), usage=finished.usage)


def _verdict(text: str) -> dict[str, object]:
    """Return what a model has said about the end; nothing if it has said something else."""
    shape = parse_shape(orjson.dumps(_VERDICT).decode())
    try:
        found: dict[str, object] = {} if shape is None else orjson.loads(shape.validate(text))
    except ShapeMismatch:
        return {}
    return found


def _counted(turns: int) -> str:
    return "one turn" if turns == 1 else f"{turns} turns"


def _turns(state: str | None) -> int:
    turns = _known(state).get("turns", 0)
    return turns if isinstance(turns, int) else 0


def _with_turns(state: str | None, turns: int) -> str:
    return orjson.dumps(_known(state) | {"turns": turns}).decode()


def _known(state: str | None) -> dict[str, object]:
    found = orjson.loads(state) if state else {}
    return found if isinstance(found, dict) else {}
