"""The routes of runs: begin one, follow it, stop it, decide about it."""

from dataclasses import replace
from enum import Enum
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request, Response

from tertulia.app import App
from tertulia.conversations import DEFAULT_TENANT, Branch, NewConversation, Run
from tertulia.engine import Decision, Ticket
from tertulia.errors import ConversationClosed, InvalidInput, NotFound, TertuliaError
from tertulia.events import RunFinished
from tertulia.ids import CONVERSATION, RUN, new_id
from tertulia.messages import Message, check_text
from tertulia.runtime import RunOptions, check_key
from tertulia.server import named, users, waiting
from tertulia.server import run_forms as forms
from tertulia.server.bodies import Direct, described, described_if_any, read, read_if_any
from tertulia.server.closing import closed_by_end, closed_row, closed_since
from tertulia.server.deciding import decided_before
from tertulia.server.edge import note
from tertulia.server.errors import answers, not_yet, respond
from tertulia.server.lists import JSON, Page, as_json, as_response, listing, place
from tertulia.server.mounting import mounted_at
from tertulia.server.options import ONCE, PARAMETERS, in_header, once_of, options_of, whole_number
from tertulia.server.run_rows import run_row, step_row
from tertulia.server.sse import MEDIA_TYPE, EventStream

_TAGS: Final[list[str | Enum]] = ["runs"]
_FAILING: Final = (404, 408, 409, 413, 415, 422, 429, 502, 503, 504)
_HEARD: Final = "Everything has been told already."
_EVENTS: Final = (
    "An event of a stream has its number as `id`, its kind as `event`, and JSON as `data`. "
    "The last one is `run.finished`, or `stream.resume`, which tells where to go on."
)
_STREAM: Final[dict[str, Any]] = {MEDIA_TYPE: {"schema": {"type": "string"}}}
_LAST_EVENT: Final = {
    "parameters": [
        in_header("Last-Event-ID", "As `starting_after`; goes before it.", {"type": "integer", "minimum": 0})
    ]
}

StartingAfter = Annotated[
    str | None, Query(max_length=20, description="Number of the last event that was seen.")
]
OfConversation = Annotated[str | None, Query(min_length=1, max_length=255)]
OfStatus = Annotated[Literal["waiting"] | None, Query(description="Runs that wait for a decision.")]


class Runs:
    """The routes of this surface on one app."""

    def __init__(self, app: App) -> None:
        self._app = app

    def mount(self, router: APIRouter) -> None:
        """Add the routes; the one that is asked most comes first, because they are tried in turn."""
        get = partial(router.add_api_route, tags=_TAGS)
        post = partial(get, methods=["POST"])
        post(
            "/v1/runs",
            self.create_run,
            route_class_override=Direct,
            responses=_in_three_ways(412, *_FAILING),
            openapi_extra=described(forms.NewRun) | {"parameters": PARAMETERS},
        )
        one = "/v1/runs/{run_id}"
        get(f"{one}/events", self.get_run_events, responses=_told(404, 422, 503), openapi_extra=_LAST_EVENT)
        get(one, self.get_run, responses=answers(forms.SpokenRun, 404, 422, 503))
        get(f"{one}/steps", self.get_run_steps, responses=answers(forms.Listing[forms.Step], 404, 422, 503))
        get("/v1/runs", self.list_runs, responses=answers(forms.Listing[forms.Run], 404, 422, 503))
        post(
            f"{one}/cancel",
            self.cancel_run,
            responses=answers(forms.Run, 404, 408, 413, 415, 422, 503),
            openapi_extra=described_if_any(forms.Cancel),
        )
        post(
            f"{one}/decide",
            self.decide_run,
            responses=answers(forms.Run, 404, 408, 409, 413, 415, 422, 503),
            openapi_extra=described(forms.Decide, examples=forms.DECISIONS) | ONCE,
        )
        post(
            f"{one}/retry",
            self.retry_run,
            responses=_in_three_ways(*_FAILING),
            openapi_extra=described_if_any(forms.Again) | ONCE,
        )

    async def create_run(self, request: Request) -> Response:
        """Send a message to an agent; wait for the end of the run, follow it, or come back later.

        The message is kept before the model is asked, whatever becomes of the answer. Hanging up
        stops nothing.
        """
        form = await read(request, forms.NewRun)
        for word, text in form.metadata.items():
            check_text(word + text, what="metadata")
        asked, is_followed = options_of(form, request.headers), form.stream or form.background
        options = replace(asked, metadata=form.metadata, deltas=is_followed)
        addressed = await self._addressed(form, options)
        try:
            ticket = await self._app.runtime.submit(form.message, conversation=addressed, options=options)
        except ConversationClosed as error:
            closed_one = await named.closed_one(self._app.store, form.conversation_id)
            return respond(error, conversation=closed_one)
        users.check_repeated(form.user, ticket.conversation, conversation=form.conversation_id)
        return await self._answer(request, ticket, form, key=options.idempotency_key)

    async def get_run(self, request: Request, run_id: named.Ident) -> Response:
        """Return a run, with what was said in it so far."""
        run = await self._app.store.runs.get(DEFAULT_TENANT, run_id)
        note(request.scope, run=run.id, conversation=run.conversation_id)
        closed = await closed_since(self._app.store, run)
        return as_response(run_row(run, await self._said(run)) | {"closed": closed})

    async def get_run_steps(self, run_id: named.Ident) -> Response:
        """List what a run has journaled, in order."""
        run = await self._app.store.runs.get(DEFAULT_TENANT, run_id)
        steps = await self._app.store.runs.steps(DEFAULT_TENANT, run.id)
        return as_response(
            {"object": "list", "data": [*map(step_row, steps)], "has_more": False, "cursor": None}
        )

    async def list_runs(
        self,
        request: Request,
        conversation_id: OfConversation = None,
        status: OfStatus = None,
        after: named.After = None,
        limit: named.Limit = named.PAGE,
    ) -> Response:
        """List the runs of a conversation in order of acceptance, or those that wait for a decision."""
        begin = place(after, prefix=RUN)
        if conversation_id is not None and status is None:
            found = await self._runs_of(conversation_id, after=begin, limit=limit + 1)
        elif conversation_id is None and status is not None:
            found = await self._app.store.runs.waiting(DEFAULT_TENANT, after=begin, limit=limit + 1)
        else:
            raise InvalidInput("name either a conversation_id or a status")
        shown = found[:limit]
        page = Page(rows=[*map(run_row, shown)], after=shown[-1].id if len(found) > limit else None)
        return listing(request, page, limit=limit)

    async def get_run_events(
        self, request: Request, run_id: named.Ident, starting_after: StartingAfter = None
    ) -> Response:
        """Tell the events of a run from the beginning, or from where a client was; then as they happen."""
        seen = request.headers.get("last-event-id") or starting_after
        after = -1 if seen is None else whole_number(seen, otherwise="an event's number is a whole number")
        runtime = self._app.runtime
        if seen is not None and await runtime.is_told(run_id, tenant=DEFAULT_TENANT, after=after):
            return Response(status_code=HTTPStatus.NO_CONTENT)  # tells browsers not to come back
        events = await runtime.follow(run_id, tenant=DEFAULT_TENANT, after=after)
        note(request.scope, run=run_id)
        return EventStream(
            run_id, events, after=after, closing=self._closing, mounted_at=mounted_at(request.scope)
        )

    async def cancel_run(self, request: Request, run_id: named.Ident) -> Response:
        """Have a run stop; may be asked any number of times, and changes nothing once it has ended."""
        form = await read_if_any(request, forms.Cancel)
        run = await self._app.runtime.cancel(run_id, tenant=DEFAULT_TENANT, keep_partial=form.keep_partial)
        note(request.scope, run=run.id, conversation=run.conversation_id)
        return as_response(run_row(run))

    async def decide_run(self, request: Request, run_id: named.Ident) -> Response:
        """Decide about a run that waits, which then goes on."""
        form = await read(request, forms.Decide)
        decision = Decision(verdict=form.verdict, value=form.value, path=form.path)
        await self._refuse_blind_approval(run_id, decision)
        run = await self._decided_before(request, run_id, decision)
        if run is None:
            ticket = await self._app.runtime.decide(
                run_id, verdict=form.verdict, value=form.value, path=form.path, tenant=DEFAULT_TENANT
            )
            run = ticket.run
        note(request.scope, run=run.id, conversation=run.conversation_id)
        return as_response(run_row(run))

    async def retry_run(self, request: Request, run_id: named.Ident) -> Response:
        """Ask again about the message of a failed run, in a new run in its place."""
        form = await read_if_any(request, forms.Again)
        # How the answer comes makes no other request.
        once = once_of(request.headers, forms.Again())
        try:
            ticket = await self._app.runtime.retry(run_id, tenant=DEFAULT_TENANT, once=once)
        except ConversationClosed as error:
            failed = await self._app.store.runs.get(DEFAULT_TENANT, run_id)
            return respond(error, conversation=failed.conversation_id)
        return await self._answer(request, ticket, form, key=None)

    async def _answer(
        self, request: Request, ticket: Ticket, mode: forms.Mode | forms.NewRun, *, key: str | None
    ) -> Response:
        run = ticket.run
        root = mounted_at(request.scope)
        headers = {"location": f"{root}/v1/runs/{run.id}"}
        note(request.scope, run=run.id, conversation=ticket.conversation.id)
        if mode.stream:
            return EventStream(
                run.id, ticket.events(), closing=self._closing, headers=headers, mounted_at=root
            )
        if mode.background:
            return Response(as_json(run_row(run)), HTTPStatus.ACCEPTED, headers, JSON)
        try:
            end = await waiting.finished(ticket, self._app.store)
            if not isinstance(end, RunFinished):
                return not_yet(run.id, behind=end, key=key)
            ended = await self._app.store.runs.get(DEFAULT_TENANT, run.id)
            closed = await closed_row(self._app.store, ended, end.closed)
        except TertuliaError as error:
            return respond(error.in_run(run.id), key=key, conversation=run.conversation_id)
        return as_response(run_row(ended, end.messages) | {"closed": closed})

    async def _closing(self, end: RunFinished) -> dict[str, object] | None:
        return await closed_by_end(self._app.store, end)

    async def _refuse_blind_approval(self, run_id: str, decision: Decision) -> None:
        """Raise unless it is said what is approved: sent twice, it would allow what comes next as well."""
        if decision.path is None:
            run = await self._app.store.runs.get(DEFAULT_TENANT, run_id)
            if run.wait is not None and run.wait.kind == "approval":
                raise InvalidInput("say what you decide about: send the wait's path as well")

    async def _decided_before(self, request: Request, run_id: str, decision: Decision) -> Run | None:
        """Return the run, if this is a request that has come before and can be known again."""
        key = request.headers.get("idempotency-key")
        if key is None:
            return None
        check_key(key)
        if decision.path is None:
            raise InvalidInput("with an Idempotency-Key, say by its path what the decision is about")
        return await decided_before(self._app.store.runs, run_id, decision)

    async def _addressed(self, form: forms.NewRun, options: RunOptions) -> str | NewConversation | Branch:
        users.check_new(form.user, conversation=form.conversation_id)
        if form.conversation_id is not None and form.agent_id is None:
            if form.edit is not None:
                if options.expected_head is not None or options.multitask != "enqueue":
                    raise InvalidInput(
                        "an edit goes into a branch of its own, where nothing is under way: leave "
                        "expected_head and multitask_strategy out"
                    )
                return await self._edited(form.conversation_id, form.edit)
            return check_text(form.conversation_id, what="conversation_id")
        if form.agent_id is not None and form.conversation_id is None and form.edit is None:
            agent_id = await named.agent_id(self._app.store, form.agent_id)
            return NewConversation(id=new_id(CONVERSATION), agent_id=agent_id, user_id=form.user)
        raise InvalidInput(
            "name either a conversation_id, with the message to edit if any, or, to begin a new "
            "conversation, an agent_id"
        )

    async def _edited(self, conversation: str, number: int) -> Branch:
        source = await named.conversation_id(self._app.store, conversation)
        found = await self._app.store.conversations.messages(
            DEFAULT_TENANT, source, after=number - 1, limit=1
        )
        if not found:
            raise NotFound(f"the conversation has no message {number}")
        if found[0].role != "user":
            raise InvalidInput(f"message {number} is not the user's, and cannot be edited")
        return await self._app.runtime.branch(source, number - 1, tenant=DEFAULT_TENANT)

    async def _runs_of(self, conversation: str, *, after: str | None, limit: int) -> list[Run]:
        runs = self._app.store.runs
        conversation_id = await named.conversation_id(self._app.store, conversation)
        n = 0 if after is None else (await runs.get(DEFAULT_TENANT, after)).n
        return await runs.page(DEFAULT_TENANT, conversation_id, after=n, limit=limit)

    async def _said(self, run: Run) -> list[Message]:
        if not run.last_number:
            return []
        said = await self._app.store.conversations.messages(
            DEFAULT_TENANT,
            run.conversation_id,
            after=run.input_number,
            limit=run.last_number - run.input_number,
        )
        return [message for message in said if message.run_id == run.id]


def _in_three_ways(*problems: int) -> dict[int | str, dict[str, Any]]:
    """Describe answers that come when the run has ended, or at once, or as a stream."""
    told = answers(forms.SpokenRun, *problems)
    told[200] |= {"description": f"The run has ended; or its events. {_EVENTS}", "content": _STREAM}
    kept = {"model": forms.Run, "description": "The run is kept, and goes on in the background."}
    return told | {202: kept}


def _told(*problems: int) -> dict[int | str, dict[str, Any]]:
    told = {200: {"description": _EVENTS, "content": _STREAM}}
    return answers(None, *problems) | told | {204: {"description": _HEARD}}
