"""One person's talk with one agent, in this process, on the installation's database."""

from typing import Final, Self

from tertulia.app import App
from tertulia.conversations import DEFAULT_TENANT, NewConversation
from tertulia.definitions import Agent, AgentDefinition
from tertulia.engine import Ticket
from tertulia.errors import DuplicateName
from tertulia.ids import AGENT, CONVERSATION, new_id
from tertulia.messages import check_text
from tertulia.runtime import RunOptions
from tertulia.server.exchanges import Exchange, pair

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
        """Go on with the newest conversation of this agent, or of the one that is there."""
        found = await _agent(app, agent)
        newest = await app.store.conversations.newest(DEFAULT_TENANT, [found.id], each=1)
        conversations = newest.get(found.id, [])
        return cls(app, found, conversations[-1].id if conversations else None)

    @property
    def model(self) -> str:
        """The model that answers."""
        return self.agent.definition.model or self._app.settings.default_model

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

    async def history(self, limit: int) -> list[Exchange]:
        """Return the last things said and answered, oldest first."""
        if self.conversation is None:
            return []
        stored = self._app.store.conversations
        conversation = await stored.get(DEFAULT_TENANT, self.conversation)
        newest_first = await stored.recent(
            DEFAULT_TENANT, conversation.id, upto=conversation.head, limit=2 * limit
        )
        return pair(reversed(newest_first))


async def _agent(app: App, named: str | None) -> Agent:
    if named is not None:
        return await app.store.agents.get(DEFAULT_TENANT, check_text(named, what="name"))
    if found := await app.store.agents.page(DEFAULT_TENANT, limit=1):
        return found[0]
    try:
        return await app.store.agents.create(DEFAULT_TENANT, new_id(AGENT), COMPANION)
    except DuplicateName:  # somebody was quicker
        return await app.store.agents.get(DEFAULT_TENANT, COMPANION.name)
