"""The routes of agents: what one is, and what it is to be from now on."""

from dataclasses import replace
from enum import Enum
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from tertulia.app import App
from tertulia.conversations import DEFAULT_TENANT, Once
from tertulia.definitions import StoredAgent
from tertulia.errors import Conflict, VersionMoved
from tertulia.messages import check_text
from tertulia.server import agent_forms as forms
from tertulia.server import named
from tertulia.server.agent_rows import stored_agent_row
from tertulia.server.bodies import described, read
from tertulia.server.defining import fields_of
from tertulia.server.errors import answers
from tertulia.server.lists import as_response
from tertulia.server.options import ONCE, once_of

_TAGS: Final[list[str | Enum]] = ["agents"]
_MAX_OVERTAKEN: Final = 20
"""So often a change begins anew because somebody else was quicker; then it is refused."""


class Agents:
    """The routes of this surface on one app."""

    def __init__(self, app: App) -> None:
        self._app = app

    def mount(self, router: APIRouter) -> None:
        """Add the routes."""
        add = partial(router.add_api_route, "/v1/agents/{agent_id}", tags=_TAGS)
        add(self.get_agent, responses=answers(forms.StoredAgent, 404, 422, 503))
        add(
            self.change_agent,
            methods=["POST"],
            responses=answers(forms.StoredAgent, 404, 408, 409, 413, 415, 422, 503),
            openapi_extra=described(forms.ChangeAgent) | ONCE,
        )

    async def get_agent(self, agent_id: named.AgentName) -> Response:
        """Return an agent as it is now."""
        return as_response(stored_agent_row(await self._found(agent_id)))

    async def change_agent(self, request: Request, agent_id: named.AgentName) -> Response:
        """Change what an agent is: its conversations go on with its newest version.

        What is under way ends as it began. What is left out stays as it is; where that is
        everything, no new version is made. An agent that is part of a program is changed there.
        """
        form = await read(request, forms.ChangeAgent)
        once = once_of(request.headers, form)
        changed = await self._changed(await self._found(agent_id), fields_of(form, self._app), once=once)
        return as_response(stored_agent_row(changed))

    async def _changed(self, agent: StoredAgent, fields: dict[str, Any], *, once: Once | None) -> StoredAgent:
        for _ in range(_MAX_OVERTAKEN):
            try:
                return await self._written(agent, fields, once=once)
            except VersionMoved:
                agent = await self._found(agent.id)
        return await self._written(agent, fields, once=once)

    async def _written(self, agent: StoredAgent, fields: dict[str, Any], *, once: Once | None) -> StoredAgent:
        if agent.definition.program:
            raise Conflict(
                f"the agent {agent.definition.name!r} is part of a program, which says what it is: "
                "change it there, and start the server that serves it anew"
            )
        definition = replace(agent.definition, **fields).checked()
        return await self._app.store.agents.update(
            DEFAULT_TENANT, agent.id, definition, expected_version=agent.version, once=once
        )

    async def _found(self, named_so: str) -> StoredAgent:
        return await self._app.store.agents.get(DEFAULT_TENANT, check_text(named_so, what="agent_id"))
