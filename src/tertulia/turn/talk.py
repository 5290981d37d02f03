"""A turn from its prompt to its last word: ask, use tools, ask again, and mend the answer's shape."""

import asyncio
from collections.abc import Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from itertools import count
from typing import Final

from tertulia.agent_settings import ModelSettings
from tertulia.engine.active import ActiveRun
from tertulia.engine.turns import Plan, StepResult, Turn
from tertulia.errors import ContextTooLong, ModelMalformed, ShapeMismatch
from tertulia.events import ReasoningDelta, StepRestarted, TextDelta
from tertulia.llms import base as llms
from tertulia.llms.base import Prompt, Shown
from tertulia.memory.history import LogHistory
from tertulia.memory.tokens import tokens_of
from tertulia.memory.transcript import Passage
from tertulia.messages import Message
from tertulia.parts import ToolResult
from tertulia.turn.answer import Answer, keep, kept_answer, result_message, shown_result
from tertulia.turn.limits import check_limits, seconds_left
from tertulia.turn.speaker import Persona, Speaker
from tertulia.turn.tooling import Tooling

REPAIRS: Final = 2
"""How often a model may mend an answer that does not have the response shape."""
CUTS: Final = 3
"""How often a prompt that its provider finds too long is halved."""
_ABANDON_SECONDS: Final = 1.0


@dataclass(slots=True)
class Talk:
    """A turn under way."""

    run: ActiveRun
    speaker: Speaker
    history: LogHistory
    persona: Persona
    number: int
    room: int = 0
    """Tokens that a prompt may have."""
    said: list[str] = field(default_factory=list)
    """What was told of the answer under way."""
    messages: list[Message] = field(default_factory=list)
    """What is to be kept of the turn so far: answers that used tools, and what these have given."""
    tooling: Tooling | None = None
    """What uses tools just now."""
    further: list[Shown] = field(default_factory=list)
    """What the model is shown beside the conversation: the turn so far, and what it is to mend."""

    def __post_init__(self) -> None:
        self.room = self.speaker.room

    @property
    def path(self) -> str:
        """Where its steps stand in the journal."""
        return f"turn/{self.number}"

    def turn(self, answer: Answer, *, state: str | None = None, closes: str | None = None) -> Turn:
        """Return what is to be kept if this is the last answer."""
        messages = (*self.messages, answer.message(author=self.speaker.name, turn=self.number))
        return Turn(
            author=self.speaker.name,
            messages=messages,
            tokens=sum(tokens_of(message.content) for message in messages),
            state=state,
            closes=closes,
        )

    def partial(self) -> Turn | None:
        """Return what was said so far as a turn that is not complete; None if that is nothing."""
        text = "".join(self.said)
        if text.strip():
            return self.turn(Answer(text=text, is_cut=True))
        messages = [*self.messages]
        if self.tooling is not None:
            messages += [self._message(result) for result in self.tooling.finished]
        if not messages:
            return None
        tokens = sum(tokens_of(message.content) for message in messages)
        return Turn(author=self.speaker.name, messages=tuple(messages), tokens=tokens)

    async def answered(self) -> Answer:
        """Ask the model until it has said its last word, which has the response shape if there is one."""
        shape, repairs = self.persona.shape, 0
        for call in count(1):
            answer = await self.ask(call)
            if answer.calls:
                await self._use(answer, call)
                continue
            if shape is None:
                return answer
            try:
                text = shape.validate(answer.text)
            except ShapeMismatch as mismatch:
                if repairs == REPAIRS:
                    raise
                repairs += 1
                self._restart(self._path_of(call))
                self.further += (answer.shown, Shown(role="user", text=str(mismatch)))
                continue
            if text != answer.text:  # what was heard is to be what is kept
                self._restart(self._path_of(call))
                self._say(text)
            return replace(answer, text=text)
        raise AssertionError("not reached")

    async def ask(self, call: int) -> Answer:
        """Ask the model once; what was journaled of an earlier attempt is not asked again."""
        path, has_asked = self._path_of(call), False
        check_limits(self.run, self.speaker.limits, path)
        seconds = self._seconds()

        async def work() -> StepResult:
            nonlocal has_asked
            has_asked = True
            return await self._ask_what_fits(path, plan)

        if self.run.is_resumed:
            self._restart(path)
        plan = Plan(kind="model", identity=_identity(self.speaker, call), within_seconds=seconds)
        try:
            result = await self.run.step(path, work, plan)
        except BaseException:
            await self._abandon(path)
            raise
        answer = kept_answer(result.output)
        if not has_asked:
            self._say(answer.text)
        return answer.with_distinct_ids(self._call_ids(), call=call)

    async def passage(self) -> Passage:
        """Return what the model is shown of the conversation, as far as there is room for it."""
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
        return shown

    def _path_of(self, call: int) -> str:
        return f"{self.path}/model/{call}"

    def _call_ids(self) -> Iterable[str]:
        """Return the ids of the calls that this turn has made before."""
        parts = (part for shown in self.further for part in shown.parts)
        return (part.call_id for part in parts if isinstance(part, ToolResult))

    def _seconds(self) -> float:
        """Return how long the next call of the model may take."""
        most = self.speaker.settings.timeout or self.speaker.call_seconds
        left = seconds_left(self.run, self.speaker.limits)
        return most if left is None else min(most, left)

    def _settings(self, seconds: float) -> ModelSettings:
        settings = self.speaker.settings
        return settings if self.speaker.limits.max_seconds is None else replace(settings, timeout=seconds)

    async def _use(self, answer: Answer, call: int) -> None:
        """Use the tools that an answer asks for; both become part of the turn."""
        self.messages.append(answer.message(author=self.speaker.name, turn=self.number))
        self.said.clear()
        self.tooling = Tooling(self.run, self.speaker, turn=self.number)
        results = await self.tooling.use_all(answer.calls, path=f"{self.path}/tool/{call}")
        self.tooling = None
        self.messages += [self._message(result) for result in results]
        self.further += (answer.shown, *(shown_result(result) for result in results))

    def _message(self, result: ToolResult) -> Message:
        return result_message(result, author=self.speaker.name, turn=self.number)

    async def _ask_what_fits(self, path: str, plan: Plan) -> StepResult:
        """Ask, and ask again with less of the history where the provider finds it too long."""
        for cut in range(CUTS + 1):
            passage = (await self.passage()).then(self.further)
            try:
                result = await self._hear(self._prompt(passage, path, plan), path, plan)
            except ContextTooLong:
                if cut == CUTS:
                    raise
                self.room //= 2
                continue
            if cut:
                self.speaker.windows.learn(self.speaker.llm, self.room)
            return result
        raise AssertionError("not reached")

    def _prompt(self, passage: Passage, path: str, plan: Plan) -> Prompt:
        return Prompt(
            messages=passage,
            settings=self._settings(plan.within_seconds),
            response_schema=None if self.persona.shape is None else self.persona.shape.schema,
            tools=self.speaker.specs,
            wants_deltas=self.speaker.wants_deltas,
            key=f"{self.run.run.id}:{path}",
            resumes=self.run.journal.begun(path),
        )

    async def _hear(self, prompt: Prompt, path: str, plan: Plan) -> StepResult:
        async with aclosing(self.speaker.llm.stream(prompt)) as events:
            async for event in events:
                match event:
                    case llms.TextDelta():
                        self.run.pass_point("step.speaking")
                        self._say(event.text)
                    case llms.ReasoningDelta():
                        self.run.emit(ReasoningDelta(text=event.text, author=self.speaker.name))
                    case llms.Begun():
                        await self.run.note(path, plan, external_id=event.external_id)
                    case llms.Finished():
                        return keep(event)
        raise ModelMalformed("the model's answer has no end")

    async def _abandon(self, path: str) -> None:
        """Have the provider stop what nobody waits for any more."""
        external_id = self.run.journal.begun(path)
        if self.run.stop and external_id is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_ABANDON_SECONDS):
                    await self.speaker.llm.abandon(external_id)

    def _restart(self, path: str) -> None:
        """Have everybody forget what was said of a step: it comes again."""
        self.said.clear()
        self.run.emit(StepRestarted(path=path))

    def _say(self, text: str) -> None:
        if text:
            self.said.append(text)
            self.run.emit(TextDelta(text=text, author=self.speaker.name))


def _identity(speaker: Speaker, call: int) -> bytes:
    return sha256(f"model\n{speaker.agent.id}\n{speaker.agent.version}\n{call}".encode()).digest()
