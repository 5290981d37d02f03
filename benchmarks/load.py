"""The load: conversations led over HTTP, each answer checked against all that was said before."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import orjson

from benchmarks.wire import Wire

MESSAGE_CHARACTERS: Final = 120
AT_ONCE: Final = 4
"""Conversations in which somebody speaks at the same time."""

_CHAT: Final = b"/agents/chat-agent"
_SEEN: Final = re.compile(rb'"m=(\d+) ')
_FILLER: Final = "please tell me more about what we discussed, and keep the earlier points in mind; "


class WrongAnswer(Exception):
    """The model was not shown exactly what had been said."""


@dataclass(slots=True)
class Talk:
    """A conversation as its user leads it."""

    number: int
    id: str
    turns: int = 0


async def begin_agent(url: str) -> str:
    """Make an agent; return its id."""
    definition = dict.fromkeys(("context", "first_message", "response_shape"), "")
    with closing(await Wire.open(url)) as wire:
        made = await wire.post_json(
            "/agents/create-agent", {**definition, "instructions": "You are a helpful assistant."}
        )
    return made["id"]


async def begin_talks(url: str, agent: str, *, count: int) -> list[Talk]:
    """Begin conversations with an agent."""
    body = {"agent_id": agent}
    with closing(await Wire.open(url)) as wire:
        made = [await wire.post_json("/agents/create-conversation", body) for _ in range(count)]
    return [Talk(number, each["id"]) for number, each in enumerate(made)]


async def go_on(url: str, talks: Sequence[Talk], *, turns: int) -> None:
    """Take some more turns in each conversation; raises :class:`WrongAnswer` at the first wrong one."""
    waiting = list(reversed(talks))

    async def lead() -> None:
        with closing(await Wire.open(url)) as wire:
            while waiting:
                talk = waiting.pop()
                for _ in range(turns):
                    await _say(wire, talk)

    async with asyncio.TaskGroup() as leading:
        for _ in range(min(AT_ONCE, len(talks))):
            leading.create_task(lead())


async def _say(wire: Wire, talk: Talk) -> None:
    """Say something, and see that the model was shown every message once: it tells how many marks it saw."""
    talk.turns += 1
    message = f"[[c{talk.number}.t{talk.turns}]] {_FILLER * 2}"[:MESSAGE_CHARACTERS]
    status, answer = await wire.post(_CHAT, orjson.dumps({"conversation_id": talk.id, "message": message}))
    seen = _SEEN.search(answer)
    if status != 200 or seen is None or int(seen[1]) != talk.turns:
        raise WrongAnswer(f"turn {talk.turns}: HTTP {status}: {answer[:200]!r}")
