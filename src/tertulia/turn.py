"""One agent's turn: the only place where what is remembered and the model meet."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from hashlib import sha256
from typing import Final

import orjson

from tertulia import ids
from tertulia.definitions import Agent, ModelSettings
from tertulia.engine.active import ActiveRun
from tertulia.engine.turns import Plan, StepResult, Turn
from tertulia.errors import ContextTooLong, ModelMalformed, ShapeMismatch
from tertulia.events import StepRestarted, TextDelta, TurnStarted
from tertulia.llms import base as llms
from tertulia.llms.base import LLM, Prompt, Shown
from tertulia.memory.history import LogHistory, tokens_of
from tertulia.messages import Flag, Message, now_us, text_content
from tertulia.shapes import Shape, parse_shape

REPAIRS: Final = 2
"""How often a model may mend an answer that does not have the response shape."""
CUTS: Final = 3
"""How often a prompt that its provider finds too long is halved."""
_CUT_SHORT: Final = frozenset({"length", "content_filter"})
_ANSWER_SHARE: Final = 4
_ANSWER_TOKENS: Final = 512


class Windows:
    """How many tokens each model was found to take, by our estimate, where it was given more.

    Estimates may be too low for a text or a vocabulary, and a provider may not say how large its
    window is. What one call has learnt, the next need not find out again.
    """

    def __init__(self) -> None:
        self._learnt: dict[str, int] = {}

    def bound(self, llm: LLM, tokens: int) -> int:
        """Return ``tokens``, or fewer if this model has refused as many."""
        return min(tokens, self._learnt.get(llm.name, tokens))

    def learn(self, llm: LLM, tokens: int) -> None:
        """Note that this model took ``tokens`` after it had refused more."""
        self._learnt[llm.name] = tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """An agent as it takes a turn."""

    agent: Agent
    llm: LLM
    settings: ModelSettings
    """The agent's, with the run's own laid over them."""
    context_tokens: int
    """Tokens that it is shown at most."""
    call_seconds: float
    """How long a call of the model may take, if the settings do not say."""
    windows: Windows
    wants_deltas: bool = True


@dataclass(frozen=True, slots=True)
class _Persona:
    """What a model is always shown of an agent."""

    opening: tuple[Shown, ...]
    tokens: int
    shape: Shape | None


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str
    is_cut: bool


async def take(run: ActiveRun, speaker: Speaker, history: LogHistory, *, number: int = 1) -> Turn:
    """Let an agent answer, and return what is to be kept.

    Raises what the model raises, :class:`~tertulia.errors.ContextTooLong`, and
    :class:`~tertulia.errors.ShapeMismatch` when the answer does not have the response shape even
    after two repairs.
    """
    name = speaker.agent.definition.name
    run.emit(TurnStarted(turn=number, author=name))
    persona = _persona(speaker.agent, run.conversation.first_message or "")
    room = speaker.windows.bound(speaker.llm, _room(speaker))
    talk = _Talk(run, speaker, history, persona, number, room)
    run.when_stopped(talk.partial)
    prompt = await talk.prompt()
    answer = await talk.answer(prompt)
    if persona.shape is not None:
        answer = await talk.shaped(prompt, persona.shape, answer)
    return _turn(name, number, answer)


def _turn(author: str, number: int, answer: "_Answer") -> Turn:
    message = Message(
        id=ids.new_id(ids.MESSAGE),
        role="assistant",
        content=text_content(answer.text),
        author=author,
        turn=number,
        flags=Flag.INCOMPLETE if answer.is_cut else Flag.NONE,
        created_at=now_us(),
    )
    return Turn(author=author, messages=(message,), tokens=tokens_of(answer.text))


@dataclass(slots=True)
class _Talk:
    """A turn under way."""

    run: ActiveRun
    speaker: Speaker
    history: LogHistory
    persona: _Persona
    number: int
    room: int
    """Tokens that a prompt may have."""
    said: list[str] = field(default_factory=list)
    """What was told of the answer under way."""

    @property
    def path(self) -> str:
        return f"turn/{self.number}"

    def partial(self) -> Turn | None:
        """Return what was said so far as a turn that is not complete; None if that is nothing."""
        text = "".join(self.said)
        name = self.speaker.agent.definition.name
        return _turn(name, self.number, _Answer(text, is_cut=True)) if text.strip() else None

    async def prompt(self) -> Prompt:
        """Return what the model is to be shown, as far as there is room for it."""
        conversation, budget = self.run.conversation, self.room - self.persona.tokens
        if budget <= 0:
            raise ContextTooLong(
                f"the agent's own texts take about {self.persona.tokens} tokens, and there is room for "
                f"{self.room}: shorten its context and instructions, or let models be shown more "
                "(TERTULIA_CONTEXT_TOKENS)"
            )
        shown = await self.history.show(
            conversation, newest=(self.run.input,), budget=budget, opening=self.persona.opening
        )
        self.run.when_kept(partial(self.history.learn, conversation, budget=budget))
        return Prompt(
            messages=shown,
            settings=self.speaker.settings,
            response_schema=None if self.persona.shape is None else self.persona.shape.schema,
            wants_deltas=self.speaker.wants_deltas,
        )

    async def answer(self, prompt: Prompt, *, call: int = 1) -> _Answer:
        """Ask the model once; what was journaled of an earlier attempt is not asked again."""
        path = f"{self.path}/model/{call}"
        has_asked = False

        async def work() -> StepResult:
            nonlocal has_asked
            has_asked = True
            return await self._ask_what_fits(replace(prompt, key=f"{self.run.run.id}:{path}"))

        if self.run.is_resumed:
            self._restart(path)
        plan = Plan(
            kind="model",
            identity=_identity(self.speaker.agent, call),
            within_seconds=self.speaker.settings.timeout or self.speaker.call_seconds,
        )
        result = await self.run.step(path, work, plan)
        kept = orjson.loads(result.output)
        if not has_asked:
            self._say(kept["text"])
        return _Answer(kept["text"], kept["finish_reason"] in _CUT_SHORT)

    async def shaped(self, prompt: Prompt, shape: Shape, answer: _Answer) -> _Answer:
        """Return the answer in its response shape, asking the model to mend it where it has to."""
        for repair in range(1, REPAIRS + 2):
            path = f"{self.path}/model/{repair}"
            try:
                text = shape.validate(answer.text)
            except ShapeMismatch as mismatch:
                if repair > REPAIRS:
                    raise
                told = str(mismatch)
            else:
                if text != answer.text:  # what was heard is to be what is kept
                    self._restart(path)
                    self._say(text)
                return _Answer(text, answer.is_cut)
            self._restart(path)
            mending = (Shown(role="assistant", text=answer.text), Shown(role="user", text=told))
            prompt = replace(prompt, messages=(*prompt.messages, *mending))
            answer = await self.answer(prompt, call=repair + 1)
        raise AssertionError("not reached")

    async def _ask_what_fits(self, prompt: Prompt) -> StepResult:
        """Ask, and ask again with less of the history where the provider finds it too long."""
        for cut in range(CUTS + 1):
            try:
                result = await self._ask(prompt)
            except ContextTooLong:
                if cut == CUTS:
                    raise
                self.room //= 2
                prompt = replace(await self.prompt(), key=prompt.key)
                continue
            if cut:
                self.speaker.windows.learn(self.speaker.llm, self.room)
            return result
        raise AssertionError("not reached")

    async def _ask(self, prompt: Prompt) -> StepResult:
        async with aclosing(self.speaker.llm.stream(prompt)) as events:
            async for event in events:
                if isinstance(event, llms.TextDelta):
                    self.run.pass_point("step.speaking")
                    self._say(event.text)
                else:
                    return _result(event)
        raise ModelMalformed("the model's answer has no end")

    def _restart(self, path: str) -> None:
        """Have everybody forget what was said of a step: it comes again."""
        self.said.clear()
        self.run.emit(StepRestarted(path=path))

    def _say(self, text: str) -> None:
        self.said.append(text)
        self.run.emit(TextDelta(text=text, author=self.speaker.agent.definition.name))


def _result(finished: llms.Finished) -> StepResult:
    if not finished.text:
        raise ModelMalformed(f"the model said nothing (finish reason: {finished.finish_reason})")
    kept = {"v": 1, "text": finished.text, "model": finished.model, "finish_reason": finished.finish_reason}
    return StepResult(output=orjson.dumps(kept).decode(), usage=finished.usage)


def _identity(agent: Agent, call: int) -> bytes:
    return sha256(f"model\n{agent.id}\n{agent.version}\n{call}".encode()).digest()


def _room(speaker: Speaker) -> int:
    """Return the tokens that a prompt may have, the answer's own left free where the window is known."""
    window = speaker.llm.window
    if window is None:
        return speaker.context_tokens
    answer = min(speaker.settings.max_tokens or _ANSWER_TOKENS, window // _ANSWER_SHARE)
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
