"""The routes of jobs: what is still to be done after commits, and what was given up."""

from enum import Enum
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from tertulia.app import App
from tertulia.conversations import DEFAULT_TENANT, JobStatus
from tertulia.ids import JOB
from tertulia.server import named
from tertulia.server import run_forms as forms
from tertulia.server.errors import answers
from tertulia.server.lists import Page, as_response, listing, place
from tertulia.server.run_rows import job_row

_TAGS: Final[list[str | Enum]] = ["jobs"]

OfStatus = Annotated[JobStatus | None, Query(description="Jobs of one status; all if there is none.")]


class Jobs:
    """The routes of this surface on one app."""

    def __init__(self, app: App) -> None:
        self._app = app

    def mount(self, router: APIRouter) -> None:
        """Add the routes."""
        add = partial(router.add_api_route, tags=_TAGS)
        add("/v1/jobs", self.list_jobs, responses=answers(forms.Listing[forms.Job], 422, 503))
        add("/v1/jobs/{job_id}", self.get_job, responses=answers(forms.Job, 404, 422, 503))
        add(
            "/v1/jobs/{job_id}/retry",
            self.retry_job,
            methods=["POST"],
            responses=answers(forms.Job, 404, 422, 503),
        )

    async def list_jobs(
        self,
        request: Request,
        status: OfStatus = None,
        after: named.After = None,
        limit: named.Limit = named.PAGE,
    ) -> Response:
        """List what is still to be done; what is done is gone."""
        found = await self._app.store.jobs.page(
            DEFAULT_TENANT, status=status, after=place(after, prefix=JOB), limit=limit + 1
        )
        shown = found[:limit]
        page = Page(rows=[*map(job_row, shown)], after=shown[-1].job.id if len(found) > limit else None)
        return listing(request, page, limit=limit)

    async def get_job(self, job_id: named.Ident) -> Response:
        """Return a job; one that is done is not found."""
        return as_response(job_row(await self._app.store.jobs.get(DEFAULT_TENANT, job_id)))

    async def retry_job(self, job_id: named.Ident) -> Response:
        """Have a job done after all that was given up; any other stays as it is."""
        return as_response(job_row(await self._app.store.jobs.revive(DEFAULT_TENANT, job_id)))
