"""The agent by its older name: one of ours, with a message store for each of its threads."""

import warnings
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from types import TracebackType
from typing import Any, Final, Self, TypeAlias
from uuid import uuid4
from weakref import WeakValueDictionary

from typing_extensions import TypedDict, Unpack, override

from tertulia import Agent, AgentRunFinished, Session
from tertulia.compat.agent_framework.asking import Given, Invoking, Seat, seated
from tertulia.compat.agent_framework.clients import ChatClient, Client
from tertulia.compat.agent_framework.history import ThreadHistory
from tertulia.compat.agent_framework.messages import Said, message_of, said_in
from tertulia.compat.agent_framework.responses import AgentRunResponse, AgentRunResponseUpdate
from tertulia.compat.agent_framework.stores import (
    ChatMessageStore,
    ChatMessageStoreProtocol,
    Connections,
    SupportsConnections,
)
from tertulia.compat.agent_framework.threads import AgentThread, Places, checked_thread
from tertulia.errors import InvalidInput
from tertulia.events import StepRestarted, TextDelta
from tertulia.llms import LLM
from tertulia.llms.models import Models
from tertulia.memory.history.service import ServiceHistoryProvider

Factory: TypeAlias = Callable[[], ChatMessageStoreProtocol]


class ModelKeywords(TypedDict, total=False):
    """How the model is asked; what is left out is up to its provider."""

    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    seed: int | None
    stop: str | Sequence[str] | None
    frequency_penalty: float | None
    presence_penalty: float | None


_KNOWN: Final = frozenset(ModelKeywords.__annotations__)


class ChatAgent:
    """Answers what it is told, by itself or in threads."""

    def __init__(  # noqa: PLR0913  # a public constructor
        self,
        chat_client: Client,
        instructions: str | None = None,
        *,
        id: str | None = None,
        name: str | None = None,
        description: str | None = None,
        tools: Any = None,  # noqa: ANN401  # a tool, or several
        response_format: Any = None,  # noqa: ANN401  # a type or a schema
        context_providers: Given | Sequence[Given] | None = None,
        chat_message_store_factory: Factory | None = None,
        store: bool | None = None,
        **settings: Unpack[ModelKeywords],
    ) -> None:
        """Make an agent; nothing is asked yet.

        ``store=True`` has the model's service keep the messages of threads, where it can; then a factory
        of message stores is not used, which is warned of. Raises ``TypeError`` for unknown keywords and
        :class:`~tertulia.errors.InvalidInput` for what cannot be.
        """
        self._client, self._models = chat_client, Models("")
        self._llm = _model(chat_client, self._models)
        self._is_kept_by_service = bool(store) and self._llm.keeps_answers
        if self._is_kept_by_service and chat_message_store_factory is not None:
            warnings.warn(
                "the model's service keeps the messages (store=True), so that chat_message_store_factory "
                "is not used",
                UserWarning,
                stacklevel=2,
            )
        make = ChatMessageStore if chat_message_store_factory is None else chat_message_store_factory
        if not callable(make):
            raise InvalidInput("chat_message_store_factory makes a store for each thread: give a function")
        self._make_store: Factory = make
        self._threads: WeakValueDictionary[str, AgentThread] = WeakValueDictionary()
        self._places = Places()
        self._connections: set[Connections] = set()
        given = seated(context_providers)
        self._seats = [each for each in given if isinstance(each, Seat)]
        self._stack = AsyncExitStack()
        self._agent = Agent(
            self._llm,
            name=name,
            instructions=instructions or "",
            tools=_several(tools),
            response_shape=response_format,
            context_providers=[
                Invoking(each, self._threads) if isinstance(each, Seat) else each for each in given
            ],
            history=ServiceHistoryProvider() if self._is_kept_by_service else ThreadHistory(self._threads),
            settings=_settings(settings),
        )
        self.id, self.name, self.description = id or uuid4().hex, name, description

    @property
    def display_name(self) -> str:
        """Its name, or its id if it has none."""
        return self.name or self.id

    def get_new_thread(self) -> AgentThread:
        """Return a thread; its message store is made by ``chat_message_store_factory``."""
        thread = self._thread(self._agent.create_session())
        self._take_place(thread)
        return thread

    async def deserialize_thread(self, serialized_thread: Mapping[str, Any], **kwargs: Any) -> AgentThread:
        """Return a thread that goes on where :meth:`AgentThread.serialize` was called.

        What the older framework has serialized is taken too. ``kwargs`` are handed to the message
        store's ``update_from_state``. Raises :class:`~tertulia.errors.SessionMismatch` for a thread of
        another agent, and :class:`~tertulia.errors.InvalidInput` for what is no thread.
        """
        told = checked_thread(serialized_thread, is_kept_by_service=self._is_kept_by_service)
        thread = self._thread(self._restored(told.get("session")), id=told.get("id"))
        await thread.take_in(told, **kwargs)
        self._take_place(thread)
        return thread

    async def run(
        self, messages: Said, *, thread: AgentThread | None = None, **settings: Unpack[ModelKeywords]
    ) -> AgentRunResponse:
        """Return the answer to a message, or to the last of several; what was said stays in the thread.

        Without a thread nothing is kept. Raises what :meth:`tertulia.Agent.run` does, and ``TypeError``
        for unknown keywords.
        """
        asked = _settings(settings)
        own = self._own(thread)
        said = await _said_last(messages, own)
        return AgentRunResponse.of(await self._agent.run(said, session=own.session, settings=asked))

    async def run_stream(
        self, messages: Said, *, thread: AgentThread | None = None, **settings: Unpack[ModelKeywords]
    ) -> AsyncIterator[AgentRunResponseUpdate]:
        """Yield the answer piece by piece, and at last as a whole; otherwise as :meth:`run`.

        Whoever leaves the loop stops the run: what was said, and what was answered by then, stays.
        """
        asked = _settings(settings)
        own = self._own(thread)
        said = await _said_last(messages, own)
        async with aclosing(self._agent.run_stream(said, session=own.session, settings=asked)) as events:
            async for event in events:
                match event:
                    case TextDelta():
                        yield AgentRunResponseUpdate(
                            text=event.text, author_name=event.author, raw_representation=event
                        )
                    case StepRestarted():
                        yield AgentRunResponseUpdate(starts_again=True, raw_representation=event)
                    case AgentRunFinished():
                        whole = AgentRunResponse.of(event.reply)
                        yield AgentRunResponseUpdate(response=whole, raw_representation=event)

    async def close(self) -> None:
        """Let go of everything that was opened; it opens again when it is asked again."""
        await self._agent.close()
        for connections in self._connections:
            await connections.close()
        await self._models.close()
        if isinstance(self._client, ChatClient):
            await self._client.close()

    async def __aenter__(self) -> Self:
        for seat in self._seats:
            if seat.shared is not None:
                await self._stack.enter_async_context(seat.shared)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        await self.close()

    @override
    def __repr__(self) -> str:
        return f"ChatAgent({self._llm.name!r}, name={self.name!r})"

    def _thread(
        self, session: Session, *, id: str | None = None, make_store: Factory | None = None
    ) -> AgentThread:
        make = make_store or self._make_store
        store = None if self._is_kept_by_service else make()
        thread = self._threads[session.id] = AgentThread(session, store=store, seats=self._seats, id=id)
        return thread

    def _take_place(self, thread: AgentThread) -> None:
        """Note where a thread's messages are, and hold the connections there."""
        self._places.take(thread, stacklevel=4)
        if isinstance(thread.message_store, SupportsConnections):
            self._connections.add(thread.message_store.shared_connections)

    def _own(self, thread: AgentThread | None) -> AgentThread:
        """Return the thread of a run; one that nothing is kept of if none was given."""
        if thread is None:
            thread = self._thread(self._agent.create_session(), make_store=ChatMessageStore)
        for seat in self._seats:
            seat.serve(thread.id)
        thread.has_run = True
        return thread

    def _restored(self, told: Mapping[str, Any] | None) -> Session:
        """Return a session that goes on from a saved one, beside any that does so, too."""
        session = self._agent.create_session()
        if told is None:
            return session
        return self._agent.restore_session({**told, "id": session.id, "conversation_id": session.id})


async def _said_last(messages: Said, thread: AgentThread) -> Any:  # noqa: ANN401  # a message of ours
    """Return the message to be answered; those before it are put into the thread."""
    *before, last = (message_of(each) for each in said_in(messages))
    if before:
        await thread.session.append(before)
    return last


def _model(given: Client, models: Models) -> LLM:
    """Return the model that is asked; one that is only named is among ``models`` then."""
    if isinstance(given, ChatClient):
        return given.llm
    return models.get(given) if isinstance(given, str) else given


def _several(given: Any) -> list[Any]:  # noqa: ANN401  # tools
    if given is None:
        return []
    return list(given) if isinstance(given, Sequence) else [given]


def _settings(given: ModelKeywords) -> dict[str, Any]:
    """Return how a model is asked; raises ``TypeError`` for a keyword that is none."""
    for name in sorted(given.keys() - _KNOWN):
        raise TypeError(f"there is no keyword {name!r} here; there are: {', '.join(sorted(_KNOWN))}")
    found: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if isinstance(found.get("stop"), str):
        found["stop"] = [found["stop"]]
    return found
