"""Asking history providers, whoever wrote them, for what they have."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from tertulia.errors import ProviderError
from tertulia.memory.context.apart import apart, told_of
from tertulia.memory.history.base import HistoryProvider, SupportsRecent
from tertulia.memory.sessions import ProviderSession
from tertulia.messages import Message

SECONDS: Final = 10.0
"""How long a provider may take for an answer."""


class Asking:
    """Asks one history provider, each time in a task of its own.

    What is raised is :class:`~tertulia.errors.ProviderError` with the provider's name, whatever the
    provider does: it fails, hangs, ends the program, or gives something else than messages. Errors of
    ours are raised as they are. A message that it gives twice counts once.
    """

    def __init__(self, provider: HistoryProvider) -> None:
        self._provider = provider

    async def all(self, session: ProviderSession) -> list[Message]:
        """Return all messages of a session, oldest first."""
        return _once(await self._answer(lambda: self._provider.load(session), of="load"))

    async def newest(self, session: ProviderSession, *, limit: int) -> tuple[list[Message], bool]:
        """Return the newest messages, or all; and whether these are all."""
        provider = self._provider
        if not isinstance(provider, SupportsRecent):
            return await self.all(session), True
        loaded = await self._answer(lambda: provider.recent(session, limit=limit), of="recent")
        return _once(loaded), len(loaded) < limit

    async def _answer(self, ask: Callable[[], Awaitable[list[Message]]], *, of: str) -> Sequence[Message]:
        name = self._provider.name

        async def answer() -> list[Message]:
            return await ask()

        try:
            return _messages(await apart(answer(), within_seconds=SECONDS))
        except ProviderError as error:
            told = told_of(error, of=f"{name}.{of}")
            raise ProviderError(
                f"the history provider {name!r}: {told}", retry_after=error.retry_after
            ) from (error.__cause__ or error)


async def has_lost_all(provider: HistoryProvider, session: ProviderSession) -> bool:
    """Whether the place of a session is empty: it was never told anything, has expired, or was emptied."""
    loaded, _ = await Asking(provider).newest(session, limit=1)
    return not loaded


def _messages(given: object) -> Sequence[Message]:
    """Return what was given; raises :class:`ProviderError` unless it is messages."""
    if not isinstance(given, list | tuple) or not all(isinstance(each, Message) for each in given):
        raise ProviderError("it gave something else than a list of messages")
    return given


def _once(messages: Sequence[Message]) -> list[Message]:
    found: dict[str, Message] = {}
    for message in messages:
        found.setdefault(message.id, message)
    return list(found.values())
