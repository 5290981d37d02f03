"""What a model is shown in a turn: its agent's texts, what is known beside, what was said, as it fits."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Final

import orjson

from tertulia.engine.active import ActiveRun
from tertulia.engine.turns import Plan, StepResult
from tertulia.errors import AnswerGone, ContextTooLong
from tertulia.events import ProviderFailed
from tertulia.llms.base import Shown
from tertulia.memory.reducers.spending import spending
from tertulia.memory.transcript import Passage, Transcript
from tertulia.memory.views.base import View, Work
from tertulia.messages import Message
from tertulia.parts import ToolResult
from tertulia.turn.briefing import Briefing
from tertulia.turn.fitting import fitted
from tertulia.turn.limits import call_seconds, check_limits
from tertulia.turn.linking import Link
from tertulia.turn.speaker import Persona, Speaker, instructed
from tertulia.usage import Usage

CUTS: Final = 3
"""How often a prompt that its provider finds too long is halved."""


@dataclass(slots=True)
class Showing:
    """What a model is shown, call by call."""

    run: ActiveRun
    speaker: Speaker
    view: View
    briefing: Briefing
    path: str
    """Where the turn's steps stand in the journal."""
    further: list[Shown] = field(default_factory=list)
    """What comes after the conversation: the turn so far, and what the model is to mend."""
    link: Link | None = None
    """How the model's service has what was said so far, if it keeps that."""
    cuts: int = 0
    """How often the provider has found it too long all the same."""
    reserve: int = 0
    """Tokens of the room that are left to what context providers tell."""
    _persona: Persona = field(init=False)
    """What is always shown of the agent, with the instructions of this run."""
    _room: int = 0
    """Tokens that a prompt may have."""
    _refused: int = 0
    """Tokens of that, by which the prompt was made shorter because its provider had refused it."""
    _reductions: int = 0
    """How often the past was made shorter by a model."""

    def __post_init__(self) -> None:
        self._persona = self._instructed()
        self.reserve, whole = self.speaker.reserve, self.speaker.whole_room
        # What was learnt from another agent's text leaves this one no less than it would find out itself.
        self._room = max(self.speaker.room, self._fixed + (max(whole - self._fixed, 0) >> CUTS))
        if self.speaker.service is not None:
            conversation, is_clean = self.run.conversation, not self.run.is_resumed
            self.link = Link.of(conversation, self.speaker.service, self.speaker.llm, is_clean=is_clean)

    @property
    def aside(self) -> str:
        """What a service that keeps the history is told for one answer, and does not keep."""
        if self.link is None:
            return ""
        return "\n\n".join(filter(None, (self._persona.system, self.briefing.text)))

    @property
    def call_ids(self) -> Iterable[str]:
        """The ids of the calls that this turn has made before."""
        parts = (part for shown in self.further for part in shown.parts)
        return (part.call_id for part in parts if isinstance(part, ToolResult))

    async def next(self) -> Passage:
        """Return what the next call is made with: all that fits, or what the model's service lacks of it."""
        if self.link is not None:
            await self.link.begin(self.speaker.llm)
            if self.link.goes_on:
                new = await self.link.new(self.run.conversation)
                if new is not None:
                    return Transcript(new).passage().then(self.further[self.link.told :])
        return await self.whole()

    async def whole(self) -> Passage:
        """Return the conversation and the turn; without what is known beside if there is no room for it."""
        try:
            return await self._fitting()
        except ContextTooLong:
            if not self.reserve:
                raise
        self._do_without_briefing()
        return await self._fitting()

    def can_differ(self, error: ContextTooLong | AnswerGone) -> bool:
        """Change what is shown next, so that it may do where this did not; return whether that can be."""
        goes_on = self.link is not None and self.link.goes_on
        if self.link is not None and goes_on:
            # We have all of it. And what its service keeps cannot be made shorter; what we show can.
            self.link.lose()
            return True
        if isinstance(error, AnswerGone):
            return False
        if self.reserve:
            self._refused = self.reserve
            self._do_without_briefing()
            return True
        self.cuts += 1
        return self.cuts <= CUTS

    def learn(self) -> None:
        """Note how much the provider took in the end, after it had found more too long."""
        if (self.cuts or self._refused) and not self.further:
            room = self._fixed + ((self._room - self._refused - self._fixed) >> self.cuts)
            self.speaker.windows.learn(self.speaker.llm, room)

    async def _fitting(self) -> Passage:
        """Return the conversation and the turn, as far as there is room for it beside the rest.

        Where there are tools, half of the room is left to what they give: so the conversation is
        shown from the same place on, whatever the turn does. Only its newest exchange may take more.
        """
        conversation, (budget, free) = self.run.conversation, self._budgets()
        passage = await self.view.show(
            conversation,
            newest=(self.run.input,),
            budget=budget,
            most=free >> self.cuts,
            opening=self._persona.opening if self.link is None else self._persona.spoken,
            pay=self._pay,
        )
        self.run.when_kept(partial(self.view.learn, conversation, budget=budget))
        if self.link is None:
            passage = passage.before_last(self.briefing.shown)
        if not self.further:
            return passage
        # What the provider finds too long is halved, the conversation before the turn's own.
        rest = (free - max(budget, passage.tokens)) >> max(self.cuts - 1, 0)
        return passage.then(fitted(self.further, budget=rest))

    def _budgets(self) -> tuple[int, int]:
        """Return the tokens for the conversation, and those for it and what the turn has added to it."""
        free = self._room - self._fixed
        if free <= 0:
            raise ContextTooLong(
                f"the agent's own texts and tools take about {self._fixed} tokens, and there is room for "
                f"{self._room}: shorten its context and instructions, or let models be shown more "
                "(context_tokens of an agent in code, TERTULIA_CONTEXT_TOKENS of a server)"
            )
        share = free // 2 if self.speaker.tools or self.further else free
        return share >> self.cuts, free

    @property
    def _fixed(self) -> int:
        return self._persona.own_tokens + self.speaker.spec_tokens + self.reserve

    def _instructed(self) -> Persona:
        first_message = self.run.conversation.first_message or ""
        return instructed(self.speaker.agent, first_message, self.briefing.instructions)

    def _do_without_briefing(self) -> None:
        """Leave what context providers tell to another time: what was said comes first."""
        if self.briefing.instructions or self.briefing.shown:
            told = "what it tells was left out: there is no room beside what was said"
            names = ", ".join(self.briefing.names)
            self.run.emit(ProviderFailed(provider=names, stage="before_run", message=told))
        self.reserve, self.briefing = 0, self.briefing.without_texts()
        self._persona = self._instructed()

    async def _pay(self, work: Work) -> list[Message]:
        """Have the past made shorter by a model, as a step of the run."""
        self._reductions += 1
        path = f"{self.path}/reduce/{self._reductions}"
        check_limits(self.run, self.speaker.limits, path)
        identity = sha256(f"reduce\n{self.speaker.agent.id}".encode()).digest()
        plan = Plan(kind="model", identity=identity, within_seconds=call_seconds(self.run, self.speaker))

        async def step() -> StepResult:
            with spending() as spent:
                reduced = await work()
            output = orjson.dumps([message.to_dict() for message in reduced]).decode()
            return StepResult(output=output, usage=sum(spent, Usage()))

        result = await self.run.step(path, step, plan)
        return [Message.from_dict(kept) for kept in orjson.loads(result.output)]
