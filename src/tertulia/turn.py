"""One agent's turn: the only place where what is remembered and the model meet."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from hashlib import sha256
from typing import Final

import orjson

from tertulia import ids
from tertulia.definitions import Agent, ModelSettings
from tertulia.engine.active import ActiveRun
from tertulia.engine.turns import StepResult, Turn
from tertulia.errors import ModelMalformed, ShapeMismatch
from tertulia.events import StepRestarted, TextDelta, TurnStarted
from tertulia.llms import base as llms
from tertulia.llms.base import LLM, Prompt, Shown
from tertulia.memory.history import LogHistory, tokens_of
from tertulia.messages import Flag, Message, now_us, text_content
from tertulia.shapes import Shape, parse_shape

REPAIRS: Final = 2
"""How often a model may mend an answer that does not have the response shape."""
CALL_SECONDS: Final = 120.0
_ANSWER_SHARE: Final = 4
_ANSWER_TOKENS: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """An agent as it takes a turn."""

    agent: Agent
    llm: LLM
    settings: ModelSettings
    """The agent's, with the run's own laid over them."""
    context_tokens: int
    """Tokens that it is shown at most."""
    wants_deltas: bool = True


@dataclass(frozen=True, slots=True)
class _Persona:
    """What a model is always shown of an agent."""

    opening: tuple[Shown, ...]
    tokens: int
    shape: Shape | None


async def take(run: ActiveRun, speaker: Speaker, history: LogHistory, *, number: int = 1) -> Turn:
    """Let an agent answer, and return what is to be kept.

    Raises what the model raises, :class:`~tertulia.errors.ContextTooLong`, and
    :class:`~tertulia.errors.ShapeMismatch` when the answer does not have the response shape even
    after two repairs.
    """
    name = speaker.agent.definition.name
    run.emit(TurnStarted(turn=number, author=name))
    persona = _persona(speaker.agent, run.conversation.first_message or "")
    budget = _budget(speaker) - persona.tokens
    shown = await history.show(run.conversation, newest=(run.input,), budget=budget, opening=persona.opening)
    run.when_kept(partial(history.learn, run.conversation, budget=budget))
    prompt = Prompt(
        messages=shown,
        settings=speaker.settings,
        response_schema=None if persona.shape is None else persona.shape.schema,
        wants_deltas=speaker.wants_deltas,
    )
    answer = await _answer(run, speaker, prompt, path=f"turn/{number}")
    if persona.shape is not None:
        answer = await _shaped(run, speaker, prompt, persona.shape, answer, path=f"turn/{number}")
    message = Message(
        id=ids.new_id(ids.MESSAGE),
        role="assistant",
        content=text_content(answer.text),
        author=name,
        turn=number,
        flags=Flag.INCOMPLETE if answer.is_cut else Flag.NONE,
        created_at=now_us(),
    )
    return Turn(author=name, messages=(message,), tokens=tokens_of(answer.text))


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str
    is_cut: bool


async def _shaped(
    run: ActiveRun, speaker: Speaker, prompt: Prompt, shape: Shape, answer: _Answer, *, path: str
) -> _Answer:
    """Return the answer in its response shape, asking the model to mend it where it has to."""
    for repair in range(1, REPAIRS + 2):
        try:
            return _Answer(shape.validate(answer.text), answer.is_cut)
        except ShapeMismatch as mismatch:
            if repair > REPAIRS:
                raise
            told = str(mismatch)
        run.emit(StepRestarted(path=f"{path}/model/{repair}"))
        mending = (Shown(role="assistant", text=answer.text), Shown(role="user", text=told))
        prompt = replace(prompt, messages=(*prompt.messages, *mending))
        answer = await _answer(run, speaker, prompt, path=path, call=repair + 1)
    raise AssertionError("not reached")


async def _answer(run: ActiveRun, speaker: Speaker, prompt: Prompt, *, path: str, call: int = 1) -> _Answer:
    """Ask the model once; what was journaled of an earlier attempt is not asked again."""
    name = speaker.agent.definition.name
    path = f"{path}/model/{call}"
    has_asked = False

    async def work() -> StepResult:
        nonlocal has_asked
        has_asked = True
        return await _ask(run, speaker.llm, replace(prompt, key=f"{run.run.id}:{path}"), author=name)

    if run.is_resumed:
        run.emit(StepRestarted(path=path))
    result = await run.step(
        path,
        work,
        kind="model",
        identity=_identity(speaker.agent, call),
        within_seconds=speaker.settings.timeout or CALL_SECONDS,
    )
    kept = orjson.loads(result.output)
    if not has_asked:
        run.emit(TextDelta(text=kept["text"], author=name))
    return _Answer(kept["text"], kept["finish_reason"] == "length")


async def _ask(run: ActiveRun, llm: LLM, prompt: Prompt, *, author: str) -> StepResult:
    async with aclosing(llm.stream(prompt)) as events:
        async for event in events:
            if isinstance(event, llms.TextDelta):
                run.pass_point("step.speaking")
                run.emit(TextDelta(text=event.text, author=author))
            else:
                return _result(event)
    raise ModelMalformed("the model's answer has no end")


def _result(finished: llms.Finished) -> StepResult:
    if not finished.text:
        raise ModelMalformed(f"the model said nothing (finish reason: {finished.finish_reason})")
    kept = {"v": 1, "text": finished.text, "model": finished.model, "finish_reason": finished.finish_reason}
    return StepResult(output=orjson.dumps(kept).decode(), usage=finished.usage)


def _identity(agent: Agent, call: int) -> bytes:
    return sha256(f"model\n{agent.id}\n{agent.version}\n{call}".encode()).digest()


def _budget(speaker: Speaker) -> int:
    """Return the tokens that a prompt may have, the answer's own left free where the window is known."""
    window = speaker.llm.window
    if window is None:
        return speaker.context_tokens
    answer = speaker.settings.max_tokens or min(_ANSWER_TOKENS, window // _ANSWER_SHARE)
    return min(speaker.context_tokens, window - answer)


@lru_cache(maxsize=1024)
def _persona(agent: Agent, first_message: str) -> _Persona:
    definition = agent.definition
    shape = parse_shape(definition.response_shape)
    system = _joined((definition.context, definition.instructions, shape.rule if shape else ""))
    opening = []
    if system:
        opening.append(Shown(role="system", text=system))
    if first_message:
        opening.append(Shown(role="assistant", text=first_message))
    return _Persona(tuple(opening), sum(tokens_of(shown.text) for shown in opening), shape)


def _joined(texts: Sequence[str]) -> str:
    return "\n\n".join(text for text in texts if text.strip())
