"""A turn from its prompt to its last word: ask, use tools, ask again, and mend the answer's shape."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import count
from typing import Final

from tertulia.agent_settings import ModelSettings
from tertulia.engine.active import ActiveRun
from tertulia.engine.turns import Plan, StepResult, Turn
from tertulia.errors import AnswerGone, ContextTooLong, ModelError, ModelMalformed, ShapeMismatch
from tertulia.events import ReasoningDelta, StepRestarted, TextDelta
from tertulia.llms import base as llms
from tertulia.llms.base import Prompt, Shown
from tertulia.memory.pairing import shown_result
from tertulia.memory.tokens import tokens_of
from tertulia.memory.transcript import Passage
from tertulia.messages import Flag, Message
from tertulia.parts import ToolResult
from tertulia.shapes import Shape
from tertulia.turn.answer import Answer, keep, kept_answer, result_message
from tertulia.turn.briefing import NOTHING
from tertulia.turn.limits import call_seconds, check_limits
from tertulia.turn.linking import owned, owner_for
from tertulia.turn.showing import Showing
from tertulia.turn.speaker import Speaker
from tertulia.turn.tooling import Tooling

REPAIRS: Final = 2
"""How often a model may mend an answer that does not have the response shape."""
FIRST_CALL: Final = "turn/1/model/1"
"""Where a run's first answer stands in the journal."""
_ABANDON_SECONDS: Final = 1.0


@dataclass(slots=True)
class Talk:
    """A turn under way."""

    run: ActiveRun
    speaker: Speaker
    showing: Showing
    shape: Shape | None
    number: int
    said: list[str] = field(default_factory=list)
    """What was told of the answer under way."""
    messages: list[Message] = field(default_factory=list)
    """What is to be kept of the turn so far: answers that used tools, and what these have given."""
    tooling: Tooling | None = None
    """What uses tools just now."""
    last: Answer | None = None
    """Its last word, once that was said."""

    @property
    def path(self) -> str:
        """Where its steps stand in the journal."""
        return f"turn/{self.number}"

    def turn(self, answer: Answer, *, state: str | None = None, closes: str | None = None) -> Turn:
        """Return what is to be kept if this is the last answer."""
        last = answer.message(author=self.speaker.name, turn=self.number)
        messages = (*self.messages, last)
        state = owned(state, self.run.conversation, owner_for(self.speaker, self.showing.view.owner))
        link = self.showing.link
        if link is not None and answer is self.last:  # the service has none that was cut short here
            state = link.kept(
                state,
                self.run.conversation,
                further=len(messages),
                model=self.speaker.llm.name,
            )
        kept = self._turn(messages, state=state, closes=closes)
        return replace(kept, finish_reason=answer.finish_reason)

    def partial(self) -> Turn | None:
        """Return all that there is of the turn, which does not come to its end; None if that is nothing."""
        text = "".join(self.said)
        if self.last is not None:
            return self.turn(self.last)
        if text.strip() and self.tooling is None:
            return self.turn(Answer(text=text, is_cut=True))
        return self._broken_off(self.messages, self._results()) if self.messages else None

    def done(self) -> Turn | None:
        """Return what the turn has done so far, which cannot be undone; None if that is nothing.

        Uses of tools stand for themselves: who comes after is to know of them.
        """
        if self.tooling is None or self.tooling.has_done:
            return self._broken_off(self.messages, self._results()) if self.messages else None
        return self._broken_off(self.messages[:-1]) if self.messages[1:] else None

    def _results(self) -> list[Message]:
        """Return what is known by now of the tools that are used just now."""
        return [] if self.tooling is None else [self._message(result) for result in self.tooling.finished]

    def _broken_off(self, messages: Sequence[Message], results: Sequence[Message] = ()) -> Turn:
        """Return these uses of tools, marked as a turn without a last word."""
        kept = [*messages, *results]
        last = max(place for place, message in enumerate(kept) if message.role == "assistant")
        kept[last] = replace(kept[last], flags=kept[last].flags | Flag.INCOMPLETE)
        owner = owner_for(self.speaker, self.showing.view.owner)
        return self._turn(kept, state=owned(None, self.run.conversation, owner))

    def _turn(
        self, messages: Sequence[Message], *, state: str | None = None, closes: str | None = None
    ) -> Turn:
        return Turn(
            author=self.speaker.name,
            messages=tuple(messages),
            tokens=sum(tokens_of(message.content) for message in messages),
            state=state,
            closes=closes,
        )

    async def answered(self) -> Answer:
        """Ask the model until it has said its last word, which has the response shape if there is one."""
        shape, repairs = self.shape, 0
        for call in count(1):
            answer = await self.ask(call)
            if answer.calls:
                await self._use(answer, call)
                continue
            if shape is None:
                return self._ended(answer)
            try:
                text = self._valid(shape, answer)
            except ShapeMismatch as mismatch:
                if repairs == REPAIRS:
                    raise
                repairs += 1
                self._restart(self._path_of(call))
                self.showing.further += (answer.shown, Shown(role="user", text=str(mismatch)))
                continue
            if text != answer.text:  # what was heard is to be what is kept
                self._restart(self._path_of(call))
                self._say(text)
            return self._ended(replace(answer, text=text))
        raise AssertionError("not reached")

    def _valid(self, shape: Shape, answer: Answer) -> str:
        text = shape.validate(answer.text)
        if self.speaker.check is not None:
            self.speaker.check(text)
        return text

    def _ended(self, answer: Answer) -> Answer:
        self.last = answer
        return answer

    async def ask(self, call: int) -> Answer:
        """Ask the model once; what was journaled of an earlier attempt is not asked again."""
        path, has_asked = self._path_of(call), False
        check_limits(self.run, self.speaker.limits, path)
        seconds = call_seconds(self.run, self.speaker)
        plan = Plan(kind="model", identity=_identity(self.speaker, call), within_seconds=seconds)

        async def work() -> StepResult:
            nonlocal has_asked
            has_asked = True
            return await self._ask_what_fits(path, plan)

        if self.run.is_resumed:
            self._restart(path)
        try:
            result = await self.run.step(path, work, plan)
        except BaseException as error:
            await self._abandon(path, error)
            raise
        answer = kept_answer(result.output)
        if not has_asked:
            self._tell_again(answer)
        if self.showing.link is not None:
            self.showing.link.follow(answer.external_id, told=len(self.showing.further) + 1)
        return answer.with_distinct_ids(self.showing.call_ids, call=call)

    def _path_of(self, call: int) -> str:
        return f"{self.path}/model/{call}"

    async def _use(self, answer: Answer, call: int) -> None:
        """Use the tools that an answer asks for; both become part of the turn."""
        self.messages.append(answer.message(author=self.speaker.name, turn=self.number))
        self.said.clear()
        path = f"{self.path}/tool/{call}"
        self.tooling = Tooling(self.run, self.speaker, answer.calls, turn=self.number, path=path)
        results = await self.tooling.use_all()
        self.tooling = None
        self.messages += [self._message(result) for result in results]
        self.showing.further += (answer.shown, *(shown_result(result) for result in results))

    def _message(self, result: ToolResult) -> Message:
        return result_message(result, author=self.speaker.name, turn=self.number)

    async def _ask_what_fits(self, path: str, plan: Plan) -> StepResult:
        """Ask, and ask again with less where the provider finds it too long, all within the plan's time."""
        clock = asyncio.get_running_loop().time
        end = clock() + plan.within_seconds
        while True:
            passage = await self.showing.next()
            prompt = self._prompt(passage, path, seconds=end - clock() if self.showing.cuts else None)
            try:
                result = await self._hear(prompt, path, plan)
            except (ContextTooLong, AnswerGone) as error:
                if self.said or not self.showing.can_differ(error):
                    raise
            else:
                self.showing.learn()
                return result

    def _prompt(self, passage: Passage, path: str, *, seconds: float | None) -> Prompt:
        link = self.showing.link
        return Prompt(
            messages=passage,
            settings=self._settings(seconds),
            response_schema=None if self.shape is None else self.shape.schema,
            tools=self.speaker.specs,
            wants_deltas=self.speaker.wants_deltas,
            resumes=self.run.journal.begun(path),
            follows=None if link is None else link.follows,
            within=None if link is None else link.within,
            aside=self.showing.aside,
        )

    def _settings(self, seconds: float | None) -> ModelSettings:
        """Return the settings of the next call, with so many seconds for it if they are not the usual."""
        settings = self.speaker.settings
        if self.showing.link is not None:
            settings = replace(settings, store=True)
        if seconds is not None:
            return replace(settings, timeout=max(seconds, 0.001))
        if self.speaker.limits.max_seconds is None:
            return settings
        return replace(settings, timeout=call_seconds(self.run, self.speaker))

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
                        briefing = self.showing.briefing
                        return keep(event, None if briefing is NOTHING else briefing)
        raise ModelMalformed("the model's answer has no end")

    async def _abandon(self, path: str, error: BaseException) -> None:
        """Have the provider stop what nobody waits for any more, if that is so."""
        external_id = self.run.journal.begun(path)
        if external_id is not None and (self.run.stop or isinstance(error, ModelError)):
            with suppress(TimeoutError):
                async with asyncio.timeout(_ABANDON_SECONDS):
                    await self.speaker.llm.abandon(external_id)

    def _tell_again(self, answer: Answer) -> None:
        """Tell an answer that another process has heard."""
        for thought in answer.reasoning:
            if thought.text:
                self.run.emit(ReasoningDelta(text=thought.text, author=self.speaker.name))
        self._say(answer.text)

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
