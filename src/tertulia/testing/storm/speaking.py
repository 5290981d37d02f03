"""Callers in a storm: each says one thing after another, and does not rest before it is answered."""

import asyncio
import itertools
import random
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import orjson

from tertulia.testing.history import Said, Violation
from tertulia.testing.storm.listening import Heard, events
from tertulia.testing.storm.servers import CANNOT_CONNECT, Server

_PAUSE: Final = 0.02
_AGAIN: Final = frozenset({408, 429, 503})
_SETTLED: Final = frozenset({409, 500})
"""What is told of a run that was given up: its message is kept, and will not be answered."""


@dataclass
class Record:
    """What all callers have seen."""

    said: list[Said] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    resumed: int = 0
    """Streams that were left, or cut, and gone on with, on whichever server."""
    restarted: int = 0
    """Steps of which callers were told that their text is void."""

    def complain(self, rule: str, detail: str) -> None:
        self.violations.append(Violation(rule, detail))


class Speaker:
    """One caller: plain requests and streams in turn, always with a key, always to any server.

    ``server`` returns one that is thought to be up. Every third stream is left at some event, and
    gone on with elsewhere.
    """

    def __init__(
        self,
        who: int,
        session: aiohttp.ClientSession,
        record: Record,
        *,
        server: Callable[[], Server],
        seed: int,
    ) -> None:
        self._who, self._session, self._record, self._server = who, session, record, server
        self._dice = random.Random(seed)  # noqa: S311  # a storm that can be repeated

    async def talk(self, conversations: list[str], *, is_over: Callable[[], bool]) -> None:
        """Say one thing after another until it is over."""
        for i in itertools.count():
            if is_over():
                return
            text = f"[[{self._who}.{i}]]"
            conversation = self._dice.choice(conversations)
            await self._say(conversation, text, streams=(i + self._who) % 2 == 0)

    async def _say(self, conversation: str, text: str, *, streams: bool) -> None:
        hexed = conversation.rpartition("_")[2]
        place = len(self._record.said)
        self._record.said.append(Said(conversation_id=hexed, text=text))
        say = self._stream if streams else self._ask
        answer = await say(conversation, text)
        self._record.said[place] = Said(conversation_id=hexed, text=text, answer=answer, is_acknowledged=True)

    async def _ask(self, conversation: str, text: str) -> str | None:
        """Ask until it is known what became of it; None if it was given up."""
        body = {"conversation_id": conversation, "message": text}
        while True:
            try:
                async with self._session.post(
                    f"{self._server().url}/agents/chat-agent", json=body, headers={"Idempotency-Key": text}
                ) as response:
                    told = await response.read()
            except CANNOT_CONNECT:
                await asyncio.sleep(_PAUSE)
                continue
            if response.status == 200:
                return str(orjson.loads(told)["response"])
            if response.status in _SETTLED:
                return None
            if response.status not in _AGAIN:
                self._record.complain("status", f"{text}: {response.status} {told[:200]!r}")
            await asyncio.sleep(_PAUSE)

    async def _stream(self, conversation: str, text: str) -> str | None:
        """Follow until the end, over as many connections as it takes; None if it was given up."""
        heard = Heard(conversation, text)
        while heard.status is None:
            leave_at = self._dice.randint(1, 12) if self._dice.random() < 1 / 3 else None
            with suppress(*CANNOT_CONNECT):
                await self._follow(heard, leave_at=leave_at)
            if heard.status is None:
                self._record.resumed += heard.run_id is not None
                await asyncio.sleep(_PAUSE)
        self._record.restarted += sum(each.kind == "step.restarted" for each in heard.told)
        for fault in heard.faults:
            self._record.complain("stream", f"{text}: {fault}")
        return heard.kept if heard.status == "completed" else None

    async def _follow(self, heard: Heard, *, leave_at: int | None) -> None:
        """Follow on one connection, until it ends or we leave."""
        async with self._open(heard) as response:
            if response.status != 200:
                await self._refused(response, heard)
                return
            count = 0
            async with aclosing(events(response.content)) as coming:
                async for told in coming:
                    heard.take(told)
                    count += 1
                    if count == leave_at:
                        return

    def _open(self, heard: Heard) -> "aiohttp.client._RequestContextManager":
        url = self._server().url
        if heard.run_id is None:
            body = {"conversation_id": heard.conversation, "message": heard.text, "stream": True}
            return self._session.post(f"{url}/v1/runs", json=body, headers={"Idempotency-Key": heard.text})
        headers = {} if heard.last is None else {"Last-Event-ID": str(heard.last)}
        return self._session.get(f"{url}/v1/runs/{heard.run_id}/events", headers=headers)

    async def _refused(self, response: aiohttp.ClientResponse, heard: Heard) -> None:
        told = await response.read()
        if response.status in _SETTLED:
            heard.status = "given up"
        elif response.status not in _AGAIN:
            self._record.complain("status", f"{heard.text}: {response.status} {told[:200]!r}")
