"""One person's talk with one agent, in this process, on the installation's database."""

from typing import Final, Self

from tertulia.app import App
from tertulia.conversations import DEFAULT_TENANT, Conversation, NewConversation, Run
from tertulia.definitions import Agent, AgentDefinition
from tertulia.engine import Ticket
from tertulia.errors import DuplicateName
from tertulia.ids import AGENT, CONVERSATION, new_id
from tertulia.messages import check_text
from tertulia.runtime import RunOptions
from tertulia.server.exchanges import Exchange, pair, with_pending

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

    def __init__(self, app: App, agent: Agent, conversation: str | None) -> None:
        self._app = app
        self.agent = agent
        self.conversation = conversation
        """Id of the conversation; ``None`` as long as nothing was said in a new one."""

    @classmethod
    async def resume(cls, app: App, agent: str | None) -> Self:
        """Go on where something was said last: with this agent, or with any.

        Where nothing was said yet, begin with the oldest agent, made if there is none.
        """
        if agent is not None:
            found = [await app.store.agents.get(DEFAULT_TENANT, check_text(agent, what="name"))]
        else:
            found = await _all_agents(app) or [await _companion(app)]
        last = await _spoken_in_last(app, [one.id for one in found])
        if last is None:
            return cls(app, found[0], None)
        return cls(app, next(one for one in found if one.id == last.agent_id), last.id)

    @property
    def model(self) -> str:
        """The model that answers, and those that stand in for it."""
        return ", else ".join(self._app.models.names(self.agent.definition.model))

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

    async def waiting(self) -> list[Run]:
        """Return the runs of the conversation that wait for somebody's decision."""
        if self.conversation is None:
            return []
        found = await self._app.store.runs.waiting(DEFAULT_TENANT)
        return [run for run in found if run.conversation_id == self.conversation]

    async def decide(self, run_id: str, verdict: str) -> None:
        """Let a run that waits for somebody's decision go on."""
        await self._app.runtime.decide(run_id, verdict=verdict)

    async def reopen(self) -> None:
        """Let the conversation go on after its end."""
        if self.conversation is not None:
            await self._app.store.conversations.set_closed(DEFAULT_TENANT, self.conversation, None)

    async def history(self, limit: int) -> list[Exchange]:
        """Return the last things said and answered, oldest first, and what waits in line."""
        if self.conversation is None:
            return []
        stored = self._app.store.conversations
        pending = await stored.pending(DEFAULT_TENANT, self.conversation)
        conversation = await stored.get(DEFAULT_TENANT, self.conversation)
        newest_first = await stored.recent(
            DEFAULT_TENANT, conversation.id, upto=conversation.head, limit=2 * limit
        )
        return with_pending(pair(reversed(newest_first)), pending)

    async def is_being_answered(self, exchange: Exchange) -> bool:
        """Whether an answer is still to come."""
        if exchange.answer is not None or exchange.asked.run_id is None:
            return False
        run = await self._app.store.runs.get(DEFAULT_TENANT, exchange.asked.run_id)
        return not run.status.is_terminal


async def _all_agents(app: App) -> list[Agent]:
    found: list[Agent] = []
    while page := await app.store.agents.page(
        DEFAULT_TENANT, after=found[-1].id if found else None, limit=_PAGE
    ):
        found += page
    return found


async def _companion(app: App) -> Agent:
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
