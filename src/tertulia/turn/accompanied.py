"""A turn with company: providers that are asked before it, and told after it, what concerns them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from tertulia.engine.active import ActiveRun
from tertulia.engine.turns import Turn
from tertulia.errors import LeaseLost, Stopping, StopRequested, StoreError, TertuliaError
from tertulia.events import ProviderFailed
from tertulia.memory.context.asking import Company, RunFacts
from tertulia.memory.context.base import RunContext
from tertulia.memory.sessions import Outcome
from tertulia.memory.views.base import View
from tertulia.messages import Message
from tertulia.tools.functions import as_tool
from tertulia.turn.briefing import Briefing
from tertulia.turn.copying import SECONDS as TOLD_SECONDS
from tertulia.turn.copying import Copying
from tertulia.turn.speaker import Beside, Speaker
from tertulia.turn.taking import take
from tertulia.turn.talk import FIRST_CALL

_NO_OUTCOME: Final = (LeaseLost, StopRequested, StoreError, Stopping)
"""What ends a run here, and is no end of it."""
_SECONDS: Final = 10.0
"""How long each provider may take, each time."""
_GRACE_SECONDS: Final = 1.0


async def speak(run: ActiveRun, speaker: Speaker, view: View) -> Turn | None:
    """Take the turn of a run, with everybody beside the agent asked and told.

    Raises as :func:`tertulia.turn.take` does. What providers do wrong is reported, and costs nothing.
    """
    if speaker.beside is None:
        return await take(run, speaker, view)
    await Accompanied(run, speaker, view, speaker.beside).turn()
    return None


@dataclass(slots=True)
class Accompanied:
    """The turn of a run with providers beside it."""

    run: ActiveRun
    speaker: Speaker
    view: View
    beside: Beside

    async def turn(self) -> None:
        """Take the turn and keep it, and then tell everybody.

        If a process has ended between the two, they are told by the one that goes on.
        """
        if self._is_kept:
            said = await self._said()
        else:
            await self._copy()
            briefing = await self._briefing()
            await self._copy_recalled(briefing)
            said = await self._taken(briefing)
        await self._copy()
        await self._tell(Outcome(request=(self.run.input,), response=said))

    @property
    def _is_kept(self) -> bool:
        return bool(self.run.run.last_number)

    async def _said(self) -> tuple[Message, ...]:
        """Return what an earlier owner of the run has kept of it."""
        run = self.run.run
        said = await self.beside.log.messages(
            run.tenant,
            run.conversation_id,
            after=run.input_number,
            limit=run.last_number - run.input_number,
        )
        return tuple(message for message in said if message.run_id == run.id)

    async def _taken(self, briefing: Briefing) -> tuple[Message, ...]:
        own = self.speaker.tools
        # The agent's own come first, and stay what they are: theirs are the rules about approval.
        further = {name: each for name, each in briefing.tools.items() if name not in own}
        speaker = replace(self.speaker, tools={**own, **further})
        try:
            turn = await take(self.run, speaker, self.view, briefing=briefing)
        except TertuliaError as error:
            if not isinstance(error, _NO_OUTCOME):
                await self._tell(Outcome(request=(self.run.input,), error=error))
            raise
        return await self.run.commit_turn(turn)

    async def _briefing(self) -> Briefing:
        """Return what the providers have for this run, as it was recorded if it has begun before."""
        recorded = Briefing.of_kept(self.run.journal.output(FIRST_CALL))
        if recorded is not None and not recorded.has_tools:
            return recorded
        with self.run.silent_for(self._seconds):
            contexts, failures = await self._company.before(self._facts)
        self._report(failures)
        found = Briefing.of(contexts)
        self._report(self._left_out(found, contexts))
        if recorded is not None:
            return replace(recorded, tools=found.tools)
        room = self.speaker.reserve
        fitting, left_out = found.within(room)
        if left_out:
            told = f"{left_out} texts were left out: there is room for about {room} tokens of them"
            names = ", ".join(name for name, each in contexts if each.messages or each.instructions)
            self._report([ProviderFailed(provider=names, stage="before_run", message=told)])
        return fitting

    def _left_out(
        self, briefing: Briefing, contexts: Iterable[tuple[str, RunContext]]
    ) -> Iterator[ProviderFailed]:
        """Yield what is to be told of tools that are left out, since there are others of their names."""
        given = [(name, as_tool(each).spec.name) for name, context in contexts for each in context.tools]
        own = self.speaker.tools
        doubles = [each for each in briefing.doubles if each[1] not in own]
        for provider, name in (*doubles, *(each for each in given if each[1] in own)):
            told = f"its tool {name!r} was left out: there is another one of this name"
            yield ProviderFailed(provider=provider, stage="before_run", message=told)

    async def _tell(self, outcome: Outcome) -> None:
        if self.beside.context_providers:
            with self.run.silent_for(self._seconds):
                self._report(await self._company.after(self._facts, outcome))

    async def _copy(self) -> None:
        if self.beside.histories:
            with self.run.silent_for(TOLD_SECONDS * len(self.beside.histories)):
                self._report(await self._copying.bring_up(self.run.conversation, agent=self.speaker.name))

    async def _copy_recalled(self, briefing: Briefing) -> None:
        if self.beside.histories and briefing.shown:
            with self.run.silent_for(TOLD_SECONDS * len(self.beside.histories)):
                failures = await self._copying.add_recalled(
                    self.run.conversation, briefing.shown, agent=self.speaker.name, run_id=self.run.run.id
                )
            self._report(failures)

    @property
    def _copying(self) -> Copying:
        return Copying(self.beside.histories, self.beside.states, self.beside.log)

    def _report(self, failures: Iterable[ProviderFailed]) -> None:
        for failure in failures:
            self.run.emit(failure)

    @property
    def _company(self) -> Company:
        return Company(self.beside.context_providers, self.beside.states, within_seconds=_SECONDS)

    @property
    def _seconds(self) -> float:
        return (_SECONDS + _GRACE_SECONDS) * len(self.beside.context_providers)

    @property
    def _facts(self) -> RunFacts:
        conversation = self.run.conversation
        return RunFacts(
            id=self.run.run.id,
            input=self.run.input,
            conversation_id=conversation.id,
            shown_id=conversation.shown_id,
            agent=self.speaker.name,
            user=conversation.user_id,
            tenant=conversation.tenant,
        )
