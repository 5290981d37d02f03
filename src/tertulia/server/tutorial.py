"""The tutorial's surface: agents, conversations and chat under ``/agents``, with the tutorial's fields."""

from enum import Enum
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from tertulia.app import App
from tertulia.conversations import DEFAULT_TENANT, NewConversation
from tertulia.definitions import AgentDefinition
from tertulia.errors import ConversationClosed, InvalidInput, SessionMismatch, TertuliaError
from tertulia.events import RunFinished
from tertulia.ids import AGENT, CONVERSATION, is_id, new_id
from tertulia.messages import check_text
from tertulia.runtime import check_alias
from tertulia.server import exchanges, named, users, waiting
from tertulia.server import tutorial_forms as forms
from tertulia.server.bodies import Direct, described, read
from tertulia.server.closing import closed_row
from tertulia.server.defining import fields_of
from tertulia.server.edge import note
from tertulia.server.errors import TUTORIAL_STATUSES, answers, not_yet, respond
from tertulia.server.lists import MAX_LIMIT, Page, answer, as_response, place, place_number
from tertulia.server.options import ONCE, PARAMETERS, once_of, options_of
from tertulia.server.tutorial_rows import agent_row, conversation_row, exchange_row

_TAGS: Final[list[str | Enum]] = ["agents"]
_SHOWN_CONVERSATIONS: Final = 100

After = Annotated[
    str | None, Query(max_length=forms.MAX_NAME, description="Where the page begins: see the `Link` header.")
]
Limit = Annotated[
    int | None, Query(ge=1, le=MAX_LIMIT, description="Rows at most; the whole list if there is none.")
]
Named = Annotated[str, Query(min_length=1, max_length=forms.MAX_NAME)]


class Tutorial:
    """The routes of this surface on one app."""

    def __init__(self, app: App) -> None:
        self._app = app

    def mount(self, router: APIRouter) -> None:
        """Add the routes; the one that is asked most comes first, because they are tried in turn."""
        get = partial(router.add_api_route, tags=_TAGS)
        post = partial(router.add_api_route, tags=_TAGS, methods=["POST"], route_class_override=Direct)
        post(
            "/agents/chat-agent",
            self.chat_agent,
            responses=answers(forms.Answer, 404, 408, 409, 412, 413, 415, 422, 429, 502, 503, 504),
            openapi_extra=described(forms.Chat) | {"parameters": PARAMETERS},
        )
        post(
            "/agents/create-conversation",
            self.create_conversation,
            responses=answers(forms.Conversation, 404, 408, 409, 413, 415, 422, 503),
            openapi_extra=described(forms.CreateConversation) | ONCE,
        )
        post(
            "/agents/create-agent",
            self.create_agent,
            responses=answers(forms.Agent, 408, 409, 413, 415, 422, 503),
            openapi_extra=described(forms.CreateAgent) | ONCE,
        )
        post(
            "/agents/summarize-conversation",
            self.summarize_conversation,
            responses=answers(forms.Summary, 404, 408, 413, 415, 422, 502, 503, 504),
            openapi_extra=described(forms.Summarize),
        )
        get("/agents/get-messages", self.get_messages, responses=answers(list[forms.Exchange], 404, 422, 503))
        get(
            "/agents/get-conversations",
            self.get_conversations,
            responses=answers(list[forms.Conversation], 404, 422, 503),
        )
        get("/agents/get-agents", self.get_agents, responses=answers(list[forms.Agent], 422, 503))
        get("/agents/", self.greet, responses=answers(forms.Greeting))
        # A slash at the end is taken off before routes are looked for; this is the one that is found.
        get("/agents", self.greet, include_in_schema=False)

    async def greet(self) -> Response:
        """Say that the service is there."""
        return as_response({"message": "Tertulia is listening. Create an agent, then chat with it."})

    async def create_agent(self, request: Request) -> Response:
        """Create an agent."""
        form = await read(request, forms.CreateAgent)
        agent_id, fields = new_id(AGENT), fields_of(form, self._app)
        name = fields.get("name") or f"agent-{agent_id[-12:]}"
        definition = AgentDefinition(**fields | {"name": name})
        once = once_of(request.headers, form)
        agent = await self._app.store.agents.create(DEFAULT_TENANT, agent_id, definition.checked(), once=once)
        return as_response(agent_row(agent, []))

    async def get_agents(self, request: Request, after: After = None, limit: Limit = None) -> Response:
        """List the agents, each with its conversations (the 100 newest), oldest first."""

        async def turn(after: str | None, limit: int) -> Page:
            found = await self._app.store.agents.page(DEFAULT_TENANT, after=after, limit=limit + 1)
            agents = found[:limit]
            newest = await self._app.store.conversations.newest(
                DEFAULT_TENANT, [agent.id for agent in agents], each=_SHOWN_CONVERSATIONS
            )
            rows = [agent_row(agent, newest.get(agent.id, [])) for agent in agents]
            return Page(rows=rows, after=agents[-1].id if len(found) > limit else None)

        return await answer(request, turn, after=place(after, prefix=AGENT), limit=limit)

    async def create_conversation(self, request: Request) -> Response:
        """Begin a conversation with an agent, or return the one that has this id already."""
        form = await read(request, forms.CreateConversation)
        agent_id = await named.agent_id(self._app.store, form.agent_id)
        once, store = once_of(request.headers, form), self._app.store.conversations
        if form.id is not None and is_id(form.id, prefix=CONVERSATION):  # one of ours: it has to be there
            conversation = await store.get(DEFAULT_TENANT, form.id)
            if conversation.agent_id != agent_id:
                raise SessionMismatch
        else:
            alias = None if form.id is None else check_alias(form.id)
            new = NewConversation(id=new_id(CONVERSATION), agent_id=agent_id, alias=alias, user_id=form.user)
            conversation = await store.create(DEFAULT_TENANT, new, once=once)
        users.check_user(form.user, conversation)
        note(request.scope, conversation=conversation.id)
        return as_response(conversation_row(conversation))

    async def get_conversations(
        self, request: Request, agent_id: Named, after: After = None, limit: Limit = None
    ) -> Response:
        """List the conversations with an agent, oldest first."""
        agent = await self._app.store.agents.get(DEFAULT_TENANT, check_text(agent_id, what="agent_id"))

        async def turn(after: str | None, limit: int) -> Page:
            found = await self._app.store.conversations.page(
                DEFAULT_TENANT, agent.id, after=after, limit=limit + 1
            )
            shown = found[:limit]
            rows = [conversation_row(conversation) for conversation in shown]
            return Page(rows=rows, after=shown[-1].id if len(found) > limit else None)

        return await answer(request, turn, after=place(after, prefix=CONVERSATION), limit=limit)

    async def get_messages(
        self, request: Request, conversation_id: Named, after: After = None, limit: Limit = None
    ) -> Response:
        """List what was said in a conversation, in its order: every message with its answer.

        A message that is not answered (yet, or because the model failed) has null as its answer;
        those that still wait in line come last, whole with the last page.
        """
        name = check_text(conversation_id, what="conversation_id")
        stored = self._app.store.conversations
        conversation = await stored.get(DEFAULT_TENANT, name)
        note(request.scope, conversation=conversation.id)

        async def turn(after: str | None, limit: int) -> Page:
            found, following = await exchanges.turn_page(
                stored, DEFAULT_TENANT, conversation.id, after=place_number(after), limit=limit
            )
            rows = [exchange_row(exchange, name) for exchange in found]
            return Page(rows=rows, after=None if following is None else str(following))

        return await answer(request, turn, after=after, limit=limit)

    async def chat_agent(self, request: Request) -> Response:
        """Send a message to an agent and wait for its answer.

        The message is kept before the model is asked, whatever becomes of the answer.
        """
        form = await read(request, forms.Chat)
        options = options_of(form, request.headers)
        addressed = await self._addressed(form)
        try:
            ticket = await self._app.runtime.submit(form.message, conversation=addressed, options=options)
        except ConversationClosed as error:
            closed_one = await named.closed_one(self._app.store, form.conversation_id)
            return respond(error, conversation=closed_one)
        users.check_repeated(form.user, ticket.conversation, conversation=form.conversation_id)
        note(request.scope, run=ticket.run.id, conversation=ticket.conversation.id)
        key, shown_id = options.idempotency_key, form.conversation_id or ticket.conversation.shown_id
        try:
            end = await waiting.finished(ticket, self._app.store)
            if not isinstance(end, RunFinished):
                return not_yet(ticket.run.id, behind=end, key=key)
            closed = await closed_row(self._app.store, ticket.run, end.closed)
        except TertuliaError as error:
            error, conversation = error.in_run(ticket.run.id), ticket.conversation.id
            return respond(error, key=key, conversation=conversation, statuses=TUTORIAL_STATUSES)
        row = {"conversation_id": shown_id, "response": exchanges.spoken(end.messages), "closed": closed}
        return as_response(row)

    async def summarize_conversation(self, request: Request) -> Response:
        """Have a model say what a conversation comes to, with the keys of the agent's response shape.

        Nothing of it is kept.
        """
        form = await read(request, forms.Summarize)
        name = check_text(form.conversation_id, what="conversation_id")
        try:
            summary = await self._app.summarize(name, tenant=DEFAULT_TENANT)
        except TertuliaError as error:
            return respond(error, statuses=TUTORIAL_STATUSES)
        return as_response(summary | {"conversation_id": form.conversation_id})

    async def _addressed(self, form: forms.Chat) -> str | NewConversation:
        users.check_new(form.user, conversation=form.conversation_id)
        if form.conversation_id is not None and form.agent_id is None:
            return check_text(form.conversation_id, what="conversation_id")
        if form.agent_id is not None and form.conversation_id is None:
            agent_id = await named.agent_id(self._app.store, form.agent_id)
            return NewConversation(id=new_id(CONVERSATION), agent_id=agent_id, user_id=form.user)
        raise InvalidInput("name either a conversation_id or, to begin a new conversation, an agent_id")
