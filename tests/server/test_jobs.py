"""Jobs can be looked at, and those that were given up can be done after all."""

import httpx2
import pytest

from tertulia.app import App
from tertulia.conversations import Commit
from tertulia.testing import builders
from tests.server.doing import described


async def some_jobs(app: App, count: int) -> list[str]:
    """Have a run leave jobs that nobody here does, the first of which has failed for good."""
    jobs = tuple(builders.a_job("elsewhere") for _ in range(count))
    conversation = await builders.a_conversation(app.store)
    claimant = builders.a_claimant(performers=("elsewhere",))
    asked = builders.a_submission(conversation, performer="elsewhere")
    claim = await builders.a_claimed_run(app.store, asked, claimant=claimant)
    await app.store.runs.commit(claim.lease, Commit(jobs=jobs, ending=builders.COMPLETED), None)
    [taken] = await app.store.jobs.claim(claimant.owner, ["elsewhere"], limit=1, lease_us=builders.HOUR_US)
    await app.store.jobs.bury(taken, error="it will never work")
    return [job.id for job in jobs]


async def test_jobs_are_listed_by_what_became_of_them(served: httpx2.AsyncClient, app: App) -> None:
    made = await some_jobs(app, 3)

    dead = (await served.get("/v1/jobs", params={"status": "dead"})).json()["data"]
    queued = (await served.get("/v1/jobs", params={"status": "queued"})).json()["data"]
    everything = (await served.get("/v1/jobs")).json()["data"]

    assert len(dead) == 1
    assert set(dead[0]) == await described(served, "Job")
    assert (dead[0]["object"], dead[0]["kind"], dead[0]["attempt"]) == ("job", "elsewhere", 1)
    assert dead[0]["error"] == "it will never work"
    assert dead[0]["run_id"].startswith("run_")
    assert len(queued) == 2
    assert [job["id"] for job in everything] == made


async def test_jobs_are_told_page_by_page(served: httpx2.AsyncClient, app: App) -> None:
    made = await some_jobs(app, 3)

    first = await served.get("/v1/jobs", params={"limit": 2})
    last = await served.get(first.links["next"]["url"])

    assert [job["id"] for job in first.json()["data"]] == made[:2]
    assert first.json()["cursor"] == made[1]
    assert [job["id"] for job in last.json()["data"]] == made[2:]
    assert last.json()["has_more"] is False


async def test_a_dead_job_can_be_done_after_all(served: httpx2.AsyncClient, app: App) -> None:
    await some_jobs(app, 1)
    [dead] = (await served.get("/v1/jobs", params={"status": "dead"})).json()["data"]

    revived = await served.post(f"/v1/jobs/{dead['id']}/retry")
    again = await served.post(f"/v1/jobs/{dead['id']}/retry")
    told = await served.get(f"/v1/jobs/{dead['id']}")

    assert (revived.status_code, revived.json()["status"], revived.json()["attempt"]) == (200, "queued", 0)
    assert again.json() == revived.json() == told.json()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/job_" + "0" * 32, 404),
        ("POST", "/job_" + "0" * 32 + "/retry", 404),
        ("GET", "/job_1", 404),
        ("GET", "?status=lost", 422),
        ("GET", "?after=7", 422),
    ],
)
async def test_what_is_no_job_is_told(
    service: httpx2.AsyncClient, method: str, path: str, status: int
) -> None:
    assert (await service.request(method, f"/v1/jobs{path}")).status_code == status
