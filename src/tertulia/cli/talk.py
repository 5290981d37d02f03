"""One person's talk with one agent, in this process, on the installation's database."""

from shlex import quote
from typing import Final, Self

from tertulia.app import App
from tertulia.conversations import DEFAULT_TENANT, Conversation, NewConversation, Run
from tertulia.definitions import AgentDefinition, StoredAgent
from tertulia.engine import Ticket
from tertulia.engine.holding import holder_of
from tertulia.errors import DuplicateName, NeedsAttention, NotServedHere, Stopping
from tertulia.events import RunFinished, RunWaiting
from tertulia.ids import AGENT, CONVERSATION, new_id
from tertulia.messages import Message, check_text
from tertulia.runtime import RunOptions
from tertulia.server.exchanges import Exchange, pair, with_pending
from tertulia.server.waiting import finished

_PAGE: Final = 100
_LOOKED_AT: Final = 50
COMPANION: Final = AgentDefinition(
    name="Companion",
    context="You are a friendly companion in a terminal, glad to help with whatever comes up.",
    first_message="Hello! What shall we talk about?",
    instructions="Answer briefly and clearly, in the language you are spoken to. Say when you do not know.",
)
"""The agent of an installation that has none yet."""


class Talk:
    """A conversation with an agent, made when the first word is said."""

    def __init__(self, app: App, agent: StoredAgent, conversation: str | None) -> None:
        self._app = app
        self.agent = agent
        self.conversation = conversation
        """Id of the conversation; ``None`` as long as nothing was said in a new one."""

    @classmethod
    async def resume(cls, app: App, agent: str | None) -> Self:
        """Go on where something was said last: with this agent, or with any.

        Where nothing was said yet, begin with the oldest agent, made if there is none. Raises
        :class:`~tertulia.errors.NotServedHere` if it is part of a program that was not named.
        """
        if agent is not None:
            found = [await app.store.agents.get(DEFAULT_TENANT, check_text(agent, what="name"))]
        else:
            found = await _all_agents(app) or [await _companion(app)]
        last = await _spoken_in_last(app, [one.id for one in found])
        if last is None:
            first = next((one for one in found if app.is_served(one.definition)), found[0])
            return cls(app, _answering(app, first), None)
        spoken_with = next(one for one in found if one.id == last.agent_id)
        return cls(app, _answering(app, spoken_with), last.id)

    @property
    def model(self) -> str:
        """The model that answers, and those that stand in for it."""
        return ", else ".join(self._app.models.names(self.agent.definition.model))

    @property
    def address(self) -> str:
        """Where a server with these settings is."""
        settings = self._app.settings
        host = settings.host.strip("[]")
        return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"

    def renew(self) -> None:
        """Let the next word begin a new conversation."""
        self.conversation = None

    async def say(self, text: str) -> Ticket:
        """Have this said; when it returns, it is kept."""
        ticket = await self._app.runtime.submit(
            text,
            conversation=self.conversation
            or NewConversation(id=new_id(CONVERSATION), agent_id=self.agent.id),
            options=RunOptions(deltas=True),
        )
        self.conversation = ticket.conversation.id
        return ticket

    async def answered(self, ticket: Ticket) -> RunFinished:
        """Wait for the end of what was said.

        Raises what has ended it, and :class:`~tertulia.errors.NeedsAttention` if it waits for a decision,
        or stands in line behind something that does.
        """
        match await finished(ticket, self._app.store):
            case RunFinished() as end:
                return end
            case Run() as holder:
                raise NeedsAttention(holder.wait.message if holder.wait else "").in_run(holder.id)
            case None:
                raise Stopping

    async def waiting(self) -> RunWaiting | None:
        """Return what somebody has to decide before anything more is answered in the conversation."""
        if self.conversation is None:
            return None
        conversation = await self._app.store.conversations.get(DEFAULT_TENANT, self.conversation)
        holder = await holder_of(self._app.store, conversation)
        if holder is None or holder.wait is None:
            return None
        return RunWaiting(run_id=holder.id, conversation_id=conversation.id, wait=holder.wait)

    async def decide(self, waiting: RunWaiting, verdict: str, value: str | None = None) -> Ticket:
        """Let a run go on that waits for this decision.

        Raises :class:`~tertulia.errors.NotWaiting` if it does not any more.
        """
        return await self._app.runtime.decide(
            waiting.run_id, verdict=verdict, value=value, path=waiting.wait.path
        )

    async def reopen(self) -> bool:
        """Let the conversation go on after its end; return whether there is one."""
        if self.conversation is None:
            return False
        await self._app.store.conversations.set_closed(DEFAULT_TENANT, self.conversation, None)
        return True

    async def history(self, limit: int) -> list[Exchange]:
        """Return the last things said and answered, oldest first, and what waits in line."""
        if self.conversation is None:
            return []
        stored = self._app.store.conversations
        pending = await stored.pending(DEFAULT_TENANT, self.conversation)
        conversation = await stored.get(DEFAULT_TENANT, self.conversation)
        newest_first: list[Message] = []
        found: list[Exchange] = []
        upto = conversation.head
        while upto > 0 and len(found) < limit:
            wanted = len(newest_first) or 2 * limit  # as much again: an answer may have used many tools
            batch = await stored.recent(DEFAULT_TENANT, conversation.id, upto=upto, limit=wanted)
            newest_first += batch
            upto = batch[-1].number - 1 if batch else 0
            found = pair(reversed(newest_first))
        return with_pending(found[-limit:], pending)

    async def is_being_answered(self, exchange: Exchange) -> bool:
        """Whether an answer is still to come."""
        if exchange.answer is not None or exchange.asked.run_id is None:
            return False
        run = await self._app.store.runs.get(DEFAULT_TENANT, exchange.asked.run_id)
        return not run.status.is_terminal


def _answering(app: App, agent: StoredAgent) -> StoredAgent:
    """Return an agent that can answer here."""
    if not app.is_served(agent.definition):
        name = agent.definition.name
        raise NotServedHere(
            f"the agent {name!r} is part of a program; name the module that it is in: "
            f"tertulia chat {quote(name)} --agents MODULE:NAME"
        )
    return agent


async def _all_agents(app: App) -> list[StoredAgent]:
    found: list[StoredAgent] = []
    while page := await app.store.agents.page(
        DEFAULT_TENANT, after=found[-1].id if found else None, limit=_PAGE
    ):
        found += page
    return found


async def _companion(app: App) -> StoredAgent:
    try:
        return await app.store.agents.create(DEFAULT_TENANT, new_id(AGENT), COMPANION)
    except DuplicateName:  # somebody was quicker
        return await app.store.agents.get(DEFAULT_TENANT, COMPANION.name)


async def _spoken_in_last(app: App, agents: list[str]) -> Conversation | None:
    """Return the conversation in which something was said last, among the newest of each agent."""
    last: Conversation | None = None
    for start in range(0, len(agents), _PAGE):
        newest = await app.store.conversations.newest(
            DEFAULT_TENANT, agents[start : start + _PAGE], each=_LOOKED_AT
        )
        found = [last] if last else []
        found += [conversation for some in newest.values() for conversation in some]
        last = max(found, key=lambda one: (one.updated_at, one.created_at), default=None)
    return last
