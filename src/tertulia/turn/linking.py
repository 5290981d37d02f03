"""Who has the history of a conversation, and how a model's service has it if it does."""

from dataclasses import dataclass
from typing import Any, Final, Self

import orjson

from tertulia.conversations import Conversation
from tertulia.engine.active import ActiveRun
from tertulia.errors import SessionMismatch
from tertulia.llms.base import LLM, Shown
from tertulia.memory.history.service import SERVICE, LinkedHistory
from tertulia.memory.pairing import Pairing
from tertulia.memory.views.base import LOG
from tertulia.memory.views.log import Log
from tertulia.messages import HIDDEN
from tertulia.turn.speaker import Speaker

_OWNER: Final = "history"
_MOST_NEW: Final = 200
"""Messages that are told beside the newest; a service that lacks more is told everything again."""
_PAGE: Final = 200


async def check_owner(run: ActiveRun, speaker: Speaker, owner: str) -> None:
    """Raise :class:`~tertulia.errors.SessionMismatch` if somebody else keeps the history.

    Who keeps it is decided by the first run of a conversation that is answered, and changed only by one
    that was told to move it.
    """
    if not run.run.options.get("moves_history"):
        owner, upto = owner_for(speaker, owner), run.input.number - 1
        await check_history(run.conversation, owner=owner, log=speaker.log, upto=upto)


async def check_history(conversation: Conversation, *, owner: str, log: Log | None, upto: int) -> None:
    """Raise :class:`~tertulia.errors.SessionMismatch` if the history up to a message is somebody else's."""
    state = known(conversation.state)
    kept = state.get(_OWNER, LOG)
    if kept == owner or (_OWNER not in state and not await _is_answered(conversation, log, upto)):
        return
    raise SessionMismatch(
        f"the history of this conversation is kept by {_named(kept)}, and this agent looks for it in "
        f"{_named(owner)}; give it the history it had, or move the history for good (move_history=True)"
    )


def owner_for(speaker: Speaker, owner: str) -> str:
    """Return who keeps a history that is shown from there, with this agent."""
    return owner if speaker.service is None else SERVICE


def owned(state: str | None, conversation: Conversation, owner: str) -> str | None:
    """Return the state that is to be kept, with who keeps the history if that is not said yet."""
    before = conversation.state if state is None else state
    if known(before).get(_OWNER, LOG) == owner:
        return state
    return orjson.dumps(known(before) | {_OWNER: owner}).decode()


def known(state: str | None) -> dict[str, Any]:
    """Return the state of a conversation; an empty one if there is none."""
    found = orjson.loads(state) if state else {}
    return found if isinstance(found, dict) else {}


def service_id(state: str | None) -> str | None:
    """Return the id under which a model's service has a conversation, if it does."""
    kept = known(state).get(SERVICE) or {}
    found = kept.get("within") or kept.get("follows")
    return found if isinstance(found, str) else None


@dataclass(slots=True)
class Link:
    """How a model's service has a conversation, while a turn goes on."""

    service: LinkedHistory
    follows: str | None = None
    within: str | None = None
    upto: int = 0
    """Number of the last message that it has."""
    told: int = 0
    """How much of what the turn has added it has."""
    is_told: bool = False
    """Whether it has the log up to its head."""

    @classmethod
    def of(cls, conversation: Conversation, service: LinkedHistory, llm: LLM, *, is_clean: bool) -> Self:
        """Return how the service has a conversation; not at all if the model or the past has changed.

        A conversation there is not gone on with where something may stand in it that came to nothing
        here (a run that was not answered, or, unless ``is_clean``, an earlier attempt at this one), nor
        in a branch of what it is one with.
        """
        kept = known(conversation.state).get(SERVICE) or {}
        is_same = kept.get("version") == conversation.version and kept.get("model") == llm.name
        if not is_same or kept.get("keeps") != service.keeps:
            return cls(service)
        is_clean = is_clean and kept.get("of") == conversation.id and kept["upto"] + 1 >= conversation.head
        if service.keeps == "conversation" and not is_clean:
            return cls(service)
        return cls(service, kept.get("follows"), kept.get("within"), kept["upto"])

    @property
    def goes_on(self) -> bool:
        """Whether the service has what was said before."""
        return self.follows is not None or (self.within is not None and (self.upto > 0 or self.is_told))

    @property
    def _is_elsewhere(self) -> bool:
        """Whether the service has it in a conversation of which only a process knew that is gone."""
        return self.service.keeps == "conversation" and self.within is None

    async def begin(self, llm: LLM) -> None:
        """Have the service begin a conversation, if it keeps one and there is none."""
        if self._is_elsewhere:
            self.within = await llm.begin_conversation()

    async def new(self, conversation: Conversation) -> list[Shown] | None:
        """Return what the service has not been told of the conversation; ``None`` if that is too much."""
        if self.is_told:
            return []
        missing = conversation.head - self.upto
        if missing > _MOST_NEW:
            self.lose()
            return None
        said = await self.service.log.messages(
            conversation.tenant, conversation.id, after=self.upto, limit=missing
        )
        new, pairing = list[Shown](), Pairing()
        for message in (each for each in said if not each.flags & HIDDEN):
            new += pairing.due(message)
            shown = pairing.shown(message)
            new += () if shown is None else (shown,)
        return [*new, *pairing.lacking()]

    def follow(self, external_id: str | None, *, told: int) -> None:
        """Note an answer: the service has everything up to it, if it keeps that."""
        if external_id is None or self._is_elsewhere:
            self.lose()
            return
        self.follows = None if self.service.keeps == "conversation" else external_id
        self.told, self.is_told = told, True

    def lose(self) -> None:
        """Note that the service has lost it: it is told everything again."""
        self.follows = self.within = None
        self.upto = self.told = 0
        self.is_told = False

    def kept(
        self,
        state: str | None,
        conversation: Conversation,
        *,
        further: int,
        model: str,
    ) -> str:
        """Return the conversation's state with this in it, once so many further messages are kept."""
        before = known(conversation.state if state is None else state)
        link = {
            "keeps": self.service.keeps,
            "follows": self.follows,
            "within": self.within,
            "upto": conversation.head + further,
            "of": conversation.id,
            "version": conversation.version,
            "model": model,
        }
        return orjson.dumps(before | {_OWNER: SERVICE, SERVICE: link}).decode()


async def _is_answered(conversation: Conversation, log: Log | None, upto: int) -> bool:
    """Whether a run of this conversation, not of the one that it is a branch of, was answered."""
    after = conversation.base
    while log is not None and after < upto:
        limit = min(_PAGE, upto - after)
        page = await log.messages(conversation.tenant, conversation.id, after=after, limit=limit)
        if not page:
            break
        if any(message.run_id and message.role == "assistant" for message in page):
            return True
        after = page[-1].number
    return False


def _named(owner: str) -> str:
    if owner == LOG:
        return "our own log"
    return "the model's service" if owner == SERVICE else f"the provider {owner!r}"
