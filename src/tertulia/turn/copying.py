"""Telling history providers what was said, so that what they keep is what our log says."""

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal

from tertulia import ids
from tertulia.conversations import Conversation
from tertulia.errors import ProviderError, TertuliaError
from tertulia.events import ProviderFailed
from tertulia.llms.base import Shown
from tertulia.memory.context.apart import apart, told_of
from tertulia.memory.history.asking import Asking, has_lost_all
from tertulia.memory.history.base import HistoryProvider, SupportsForgetting, SupportsRecent
from tertulia.memory.history.opened import HistorySessions
from tertulia.memory.history.recording import flags_of
from tertulia.memory.sessions import ProviderSession
from tertulia.memory.states import COPIED_SOURCE, OpenState, States
from tertulia.memory.views.log import Log
from tertulia.messages import HIDDEN, Message, now_us
from tertulia.parts import text_content

SECONDS: Final = 10.0
_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class Copying:
    """The history providers beside an agent's log."""

    providers: Sequence[HistoryProvider]
    states: States
    log: Log

    async def bring_up(self, conversation: Conversation, *, agent: str) -> list[ProviderFailed]:
        """Tell all providers what they lack of a conversation, up to its head; return who has failed.

        Who has failed is told the same once more the next time, so that nothing is missing in the end.
        """
        outcomes = [await self._told(provider, conversation, agent=agent) for provider in self.providers]
        return [outcome for outcome in outcomes if outcome is not None]

    async def add_recalled(
        self, conversation: Conversation, recalled: Sequence[Shown], *, agent: str, run_id: str
    ) -> list[ProviderFailed]:
        """Tell those who want it what context providers had the model told; return who has failed."""
        wanting = [each for each in self.providers if flags_of(each).store_context_messages]
        messages = [_recalled(shown, run_id, place) for place, shown in enumerate(recalled)]
        failures = []
        for provider in wanting if messages else ():
            try:
                await self._append(provider, conversation, messages, agent=agent)
            except TertuliaError as error:
                failures.append(_failed(provider, "append", error))
        return failures

    async def _told(
        self, provider: HistoryProvider, conversation: Conversation, *, agent: str
    ) -> ProviderFailed | None:
        state = await self.states.open(
            conversation.tenant, conversation.id, f"{COPIED_SOURCE}{provider.name}"
        )
        whose = [agent, conversation.id]
        if state.value.get("of") != whose:  # a branch begins with the states of what it is one of
            state.value.update(of=whose, upto=0, keeps=None)
        try:
            is_again = await self._begins_again(provider, conversation, state, agent=agent)
            if failure := await self._copy(provider, conversation, state, agent=agent):
                return failure
            # What has nothing right after it was told everything keeps nothing: it is not told that again.
            if (
                is_again
                and state.value["keeps"]
                and await self._is_empty(provider, conversation, agent=agent)
            ):
                state.value["keeps"] = False
        except TertuliaError as error:
            return _failed(provider, "load", error)
        finally:
            await self.states.keep(state)
        return None

    async def _begins_again(
        self, provider: HistoryProvider, conversation: Conversation, state: OpenState, *, agent: str
    ) -> bool:
        """Whether a provider has nothing of what it was told, and so is to be told from the beginning."""
        upto, keeps = int(state.value["upto"]), state.value.get("keeps", True)
        if not upto or not keeps or not flags_of(provider).load_messages:
            return False
        # To look at the end costs little. Who must be loaded for it was so before the turn was taken.
        if not isinstance(provider, SupportsRecent) and await self._is_answer(conversation, after=upto):
            return False
        if not await self._is_empty(provider, conversation, agent=agent):
            return False
        state.value.update(upto=0, keeps=None)
        return True

    async def _is_answer(self, conversation: Conversation, *, after: int) -> bool:
        """Whether everything after a message was said by agents, so that a run has begun before it."""
        if after >= conversation.head:
            return False
        page = await self.log.messages(conversation.tenant, conversation.id, after=after, limit=_PAGE)
        return all(message.role in ("assistant", "tool") for message in page)

    async def _is_empty(self, provider: HistoryProvider, conversation: Conversation, *, agent: str) -> bool:
        async with HistorySessions(self.states, agent).opened(conversation, of=provider) as session:
            return await has_lost_all(provider, session)

    async def _copy(
        self, provider: HistoryProvider, conversation: Conversation, state: OpenState, *, agent: str
    ) -> ProviderFailed | None:
        """Tell a provider what it lacks, and note how far it was told; return how it has failed."""
        try:
            while (upto := int(state.value["upto"])) < conversation.head:
                state.value["upto"] = await self._copied(
                    provider, conversation, state, after=upto, agent=agent
                )
        except TertuliaError as error:
            return _failed(provider, "append", error)
        return None

    async def _copied(
        self,
        provider: HistoryProvider,
        conversation: Conversation,
        state: OpenState,
        *,
        after: int,
        agent: str,
    ) -> int:
        """Tell a provider some messages; return the number of the last one."""
        limit = min(_PAGE, conversation.head - after)
        page = await self.log.messages(conversation.tenant, conversation.id, after=after, limit=limit)
        chosen = flags_of(provider).chosen(message for message in page if not message.flags & HIDDEN)
        if chosen:
            await self._append(provider, conversation, chosen, agent=agent)
            state.value["keeps"] = state.value.get("keeps") is not False
        return page[-1].number if page else conversation.head

    async def _append(
        self,
        provider: HistoryProvider,
        conversation: Conversation,
        messages: Sequence[Message],
        *,
        agent: str,
    ) -> None:
        async with HistorySessions(self.states, agent).opened(conversation, of=provider) as session:
            await apart(_append(provider, session, messages), within_seconds=SECONDS)


async def load(
    provider: HistoryProvider, opening: AbstractAsyncContextManager[ProviderSession]
) -> list[Message]:
    """Return what a history provider has of a session; raises :class:`ProviderError` if it cannot say."""
    try:
        async with opening as session:
            return await Asking(provider).all(session)
    except ProviderError:
        raise
    except TertuliaError as error:
        raise ProviderError(f"{provider.name}: {told_of(error, of=f'{provider.name}.load')}") from error


async def forget(
    providers: Sequence[HistoryProvider],
    conversation: Conversation,
    ids: Collection[str],
    *,
    sessions: HistorySessions,
    marked: Collection[int] | None = None,
) -> None:
    """Have history providers forget messages; raises :class:`ProviderError` if one of them cannot.

    The error says that it is done in the log, unless ``marked`` is empty: the numbers of those messages
    that were marked there, and ``None`` if that were all of them.
    """
    failures = []
    for provider in providers:
        if not isinstance(provider, SupportsForgetting):
            failures.append(f"{provider.name} cannot forget single messages")
            continue
        try:
            async with sessions.opened(conversation, of=provider) as session:
                await apart(_forget(provider, session, ids), within_seconds=SECONDS)
        except TertuliaError as error:
            failures.append(f"{provider.name}: {told_of(error, of=f'{provider.name}.forget')}")
    if failures:
        done = "done in the log, but not everywhere" if marked is None or marked else "not done everywhere"
        raise ProviderError(f"{done}: {'; '.join(failures)}")


def _failed(
    provider: HistoryProvider, stage: Literal["load", "append"], error: TertuliaError
) -> ProviderFailed:
    told = told_of(error, of=f"{provider.name}.{stage}")
    return ProviderFailed(provider=provider.name, stage=stage, message=told)


def _recalled(shown: Shown, run_id: str, place: int) -> Message:
    """Return a message of a context provider, with the same id however often its run is begun."""
    ident = f"{ids.MESSAGE}_{sha256(f'{run_id} {place}'.encode()).hexdigest()[:32]}"
    return Message(
        id=ident, role=shown.role, content=shown.parts or text_content(shown.text), created_at=now_us()
    )


# What a plain function raises when it is called is to be raised where it is waited for.
async def _append(provider: HistoryProvider, session: ProviderSession, messages: Sequence[Message]) -> None:
    await provider.append(session, messages)


async def _forget(provider: SupportsForgetting, session: ProviderSession, ids: Collection[str]) -> None:
    await provider.forget(session, ids)
