"""Mem0's memories, by their older name."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from typing_extensions import override

from tertulia.errors import InvalidInput
from tertulia.memory.context import Mem0ContextProvider
from tertulia.memory.context.mem0 import HEADING, Mem0Client
from tertulia.memory.context.mem0_http import PLATFORM, Mem0HTTP

_URL: Final = "MEM0_BASE_URL"


class Mem0Provider(Mem0ContextProvider):
    """Brings in what Mem0 remembers of a user, an agent or an application, and gives it what was answered.

    It is one of our own context providers: memories belong to the ids that it was given, whatever the
    thread. With ``thread_id`` they belong to that, within the others if there are any.
    """

    def __init__(  # noqa: PLR0913  # a public constructor
        self,
        mem0_client: Mem0Client | None = None,
        *,
        api_key: str | None = None,
        application_id: str | None = None,
        agent_id: str | None = None,
        thread_id: str | None = None,
        user_id: str | None = None,
        context_prompt: str | None = None,
        base_url: str | None = None,
    ) -> None:
        """Use a client of the mem0ai package, which stays the caller's to close, or HTTP.

        Raises :class:`~tertulia.errors.InvalidInput` without any id, for memories of everybody.
        """
        if not (application_id or agent_id or user_id or thread_id):
            raise InvalidInput("say whose memories: user_id, agent_id, application_id or thread_id")
        base_url = base_url or os.environ.get(_URL)
        self._http: Mem0HTTP | None = None
        client = mem0_client
        if thread_id:
            others = application_id or agent_id or user_id
            client = _InThread(
                client or self._over_http(base_url, api_key), thread_id, is_within=bool(others)
            )
        super().__init__(
            client,
            api_key=api_key,
            base_url=base_url,
            user_id=user_id if application_id or agent_id or user_id else thread_id,
            agent_id=agent_id,
            application_id=application_id,
            name="Mem0Provider",
            heading=HEADING if context_prompt is None else context_prompt,
        )

    @override
    async def close(self) -> None:
        await super().close()
        if self._http is not None:
            await self._http.close()

    def _over_http(self, base_url: str | None, api_key: str | None) -> Mem0HTTP:
        key = api_key or os.environ.get("MEM0_API_KEY")
        if base_url is None and not key:
            raise InvalidInput("Mem0 needs an api_key, in MEM0_API_KEY or given; or a client of your own")
        self._http = Mem0HTTP(base_url or PLATFORM, api_key=key)
        return self._http


class _InThread:
    """A client of Mem0 whose memories are those of one thread, which Mem0 calls a run."""

    def __init__(self, client: Any, thread_id: str, *, is_within: bool) -> None:  # noqa: ANN401  # another's
        """``is_within`` others' memories, or only the thread's, whatever else is named."""
        self._client, self._thread_id, self._is_within = client, thread_id, is_within

    async def search(self, query: str, *, filters: Mapping[str, Any], top_k: int) -> Any:  # noqa: ANN401  # JSON
        """Return the thread's memories that fit best."""
        return await self._client.search(query, filters=self._within(filters), top_k=top_k)

    async def add(self, messages: Sequence[Mapping[str, str]], **scope: Any) -> Any:  # noqa: ANN401  # JSON
        """Learn from messages of the thread."""
        return await self._client.add(messages, **self._within(scope))

    def _within(self, scope: Mapping[str, Any]) -> dict[str, Any]:
        others = {name: value for name, value in scope.items() if self._is_within or name != "user_id"}
        return others | {"run_id": self._thread_id}


__all__ = ["Mem0Provider"]
