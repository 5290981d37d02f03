"""A run's events are heard while it is spoken, by whoever joins it, and never again after their end."""

import asyncio

import httpx2

from tertulia.app import App
from tertulia.events import RunFinished, TextDelta
from tertulia.testing.fake_openai import FakeOpenAI
from tests.server.doing import a_conversation, begin, told

NOBODY = "run_" + "0" * 32
SPOKEN = "Paella, then figs, then coffee."


async def test_who_comes_back_after_the_end_is_told_not_to(service: httpx2.AsyncClient) -> None:
    conversation = await a_conversation(service)
    events = told((await begin(service, conversation, "hi", stream=True)).text)
    path, end = f"/v1/runs/{events[-1].data['id']}/events", events[-1].id

    by_query = await service.get(path, params={"starting_after": str(end)})
    by_header = await service.get(path, headers={"Last-Event-ID": str(end)})
    before = await service.get(path, headers={"Last-Event-ID": str(events[-2].id)})
    afresh = await service.get(path)

    for response in by_query, by_header:
        assert (response.status_code, response.content) == (204, b"")
    assert told(before.text) == events[-1:]
    assert told(afresh.text) == events


async def test_who_comes_back_to_a_run_that_never_began_is_told_not_to(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    conversation = await a_conversation(service)
    model.fault("hang", times=1)
    first = (await begin(service, conversation, "one", background=True)).json()
    second = (await begin(service, conversation, "two", background=True)).json()
    path = f"/v1/runs/{second['id']}"
    await service.post(f"{path}/cancel")

    [end] = told((await service.get(f"{path}/events")).text)
    again = await service.get(f"{path}/events", headers={"Last-Event-ID": str(end.id)})
    await service.post(f"/v1/runs/{first['id']}/cancel")

    assert (end.kind, end.data["status"]) == ("run.finished", "cancelled")
    assert again.status_code == 204


async def test_nobody_comes_back_to_a_run_that_is_not_there(service: httpx2.AsyncClient) -> None:
    response = await service.get(f"/v1/runs/{NOBODY}/events", headers={"Last-Event-ID": "3"})

    assert (response.status_code, response.json()["code"]) == (404, "not_found")


async def test_a_run_in_the_background_is_heard_while_it_is_spoken(
    served: httpx2.AsyncClient, app: App, model: FakeOpenAI
) -> None:
    conversation = await a_conversation(served)
    model.script([SPOKEN])
    model.tps = 20

    run_id = (await begin(served, conversation, "hi", key="k", background=True)).json()["id"]
    joined = asyncio.create_task(begin(served, conversation, "hi", key="k", stream=True))
    follower = await app.runtime.follow(run_id)
    while not isinstance((await anext(follower)).event, TextDelta):
        continue
    standing = (await served.get(f"/v1/runs/{run_id}")).json()["status"]
    rest = [numbered.event async for numbered in follower]
    events = told((await joined).text)

    pieces = [event.data["text"] for event in events if event.kind == "text.delta"]
    assert standing == "running"
    assert isinstance(rest[-1], RunFinished)
    assert len(pieces) > 1
    assert ("".join(pieces), events[-1].data["id"]) == (SPOKEN, run_id)
