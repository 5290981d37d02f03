"""The routes of conversations: what was said in one, its branches, and what is taken back."""

from enum import Enum
from functools import partial
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request, Response

from tertulia.app import App
from tertulia.conversations import DEFAULT_TENANT, Conversation
from tertulia.engine.holding import holder_of
from tertulia.errors import NotFound
from tertulia.messages import Flag, Message, check_text
from tertulia.server import named
from tertulia.server import run_forms as forms
from tertulia.server.bodies import described, described_if_any, read, read_if_any
from tertulia.server.edge import note
from tertulia.server.errors import answers
from tertulia.server.lists import Page, as_response, listing, place_number
from tertulia.server.options import ONCE, once_of
from tertulia.server.run_rows import conversation_row, message_row, run_row

_TAGS: Final[list[str | Enum]] = ["conversations"]

Order = Annotated[Literal["asc", "desc"], Query(description="Oldest first, or newest first.")]


class Conversations:
    """The routes of this surface on one app."""

    def __init__(self, app: App) -> None:
        self._app = app

    def mount(self, router: APIRouter) -> None:
        """Add the routes."""
        add = partial(router.add_api_route, tags=_TAGS)
        one = "/v1/conversations/{conversation_id}"
        add(
            f"{one}/messages",
            self.list_messages,
            responses=answers(forms.Listing[forms.Message], 404, 422, 503),
        )
        add(one, self.get_conversation, responses=answers(forms.StandingConversation, 404, 422, 503))
        add(
            f"{one}/fork",
            self.fork_conversation,
            methods=["POST"],
            responses=answers(forms.StoredConversation, 404, 408, 409, 413, 415, 422, 503),
            openapi_extra=described(forms.Fork) | ONCE,
        )
        add(
            f"{one}/withdraw",
            self.withdraw_messages,
            methods=["POST"],
            responses=answers(forms.StoredConversation, 404, 408, 409, 413, 415, 422, 502, 503),
            openapi_extra=described(forms.Withdraw),
        )
        add(
            f"{one}/close",
            self.close_conversation,
            methods=["POST"],
            responses=answers(forms.StoredConversation, 404, 408, 413, 415, 422, 503),
            openapi_extra=described_if_any(forms.Close),
        )
        add(
            f"{one}/reopen",
            self.reopen_conversation,
            methods=["POST"],
            responses=answers(forms.StoredConversation, 404, 422, 503),
        )
        add(
            f"{one}/messages/{{number}}",
            self.erase_message,
            methods=["DELETE"],
            responses=answers(forms.Message, 404, 409, 422, 502, 503),
        )

    async def get_conversation(self, request: Request, conversation_id: named.Name) -> Response:
        """Return a conversation, with the run that holds it and the messages that wait in line."""
        conversation = await self._found(request, conversation_id)
        pending = await self._app.store.conversations.pending(DEFAULT_TENANT, conversation.id)
        holder = await holder_of(self._app.store, conversation)
        row = conversation_row(conversation) | {
            "run": None if holder is None else run_row(holder),
            "pending": [message_row(message) for message in pending],
        }
        return as_response(row)

    async def list_messages(
        self,
        request: Request,
        conversation_id: named.Name,
        order: Order = "asc",
        after: named.After = None,
        limit: named.Limit = named.PAGE,
    ) -> Response:
        """List the messages of a conversation by their numbers, those withdrawn or erased as well."""
        conversation = await self._found(request, conversation_id)
        turn = self._onwards if order == "asc" else self._backwards
        found = await turn(conversation, after=after, limit=limit + 1)
        shown = found[:limit]
        following = str(shown[-1].number) if len(found) > limit else None
        return listing(request, Page(rows=[*map(message_row, shown)], after=following), limit=limit)

    async def fork_conversation(self, request: Request, conversation_id: named.Name) -> Response:
        """Make a conversation that begins with the messages of this one, and goes on by itself."""
        form = await read(request, forms.Fork)
        branch = await self._app.runtime.fork(
            check_text(conversation_id, what="conversation_id"),
            at=form.at,
            tenant=DEFAULT_TENANT,
            alias=form.id,
            once=once_of(request.headers, form),
        )
        note(request.scope, conversation=branch.id)
        return as_response(conversation_row(branch))

    async def withdraw_messages(self, request: Request, conversation_id: named.Name) -> Response:
        """Have models shown these messages no more; they stay in the log.

        History providers of an agent in Python forget them. If one cannot, that is answered with 502,
        and done in the log nevertheless.
        """
        form = await read(request, forms.Withdraw)
        conversation = await self._found(request, conversation_id)
        changed = await self._app.mark(conversation.id, form.numbers, Flag.WITHDRAWN, tenant=DEFAULT_TENANT)
        return as_response(conversation_row(changed))

    async def close_conversation(self, request: Request, conversation_id: named.Name) -> Response:
        """Have a conversation take no further message.

        What waits in line fails as what comes later is refused, and can be asked again once it is
        open. One that is closed already stays as it is, with its reason.
        """
        form = await read_if_any(request, forms.Close)
        return await self._set_closed(request, conversation_id, check_text(form.reason, what="reason"))

    async def reopen_conversation(self, request: Request, conversation_id: named.Name) -> Response:
        """Have a conversation take messages again."""
        return await self._set_closed(request, conversation_id, None)

    async def erase_message(
        self, request: Request, conversation_id: named.Name, number: named.Number
    ) -> Response:
        """Erase what a message says, in every branch that shares it; its number stays.

        History providers of an agent in Python forget it. If one cannot, that is answered with 502, and
        done in the log nevertheless.
        """
        conversation = await self._found(request, conversation_id)
        stored = self._app.store.conversations
        await self._app.mark(conversation.id, [number], Flag.DELETED, tenant=DEFAULT_TENANT)
        found = await stored.messages(DEFAULT_TENANT, conversation.id, after=number - 1, limit=1)
        if not found:
            raise NotFound(f"the conversation has no message {number}")
        return as_response(message_row(found[0]))

    async def _set_closed(self, request: Request, named_so: str, reason: str | None) -> Response:
        name = check_text(named_so, what="conversation_id")
        changed = await self._app.store.conversations.set_closed(DEFAULT_TENANT, name, reason)
        note(request.scope, conversation=changed.id)
        return as_response(conversation_row(changed))

    async def _found(self, request: Request, named_so: str) -> Conversation:
        name = check_text(named_so, what="conversation_id")
        conversation = await self._app.store.conversations.get(DEFAULT_TENANT, name)
        note(request.scope, conversation=conversation.id)
        return conversation

    async def _onwards(self, conversation: Conversation, *, after: str | None, limit: int) -> list[Message]:
        return await self._app.store.conversations.messages(
            DEFAULT_TENANT, conversation.id, after=place_number(after), limit=limit
        )

    async def _backwards(self, conversation: Conversation, *, after: str | None, limit: int) -> list[Message]:
        upto = conversation.head if after is None else place_number(after) - 1
        return await self._app.store.conversations.recent(
            DEFAULT_TENANT, conversation.id, upto=upto, limit=limit
        )
