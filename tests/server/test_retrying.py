"""A failed run is asked again about its message: only if that still stands, and as often as it is asked."""

import httpx2
import pytest

from tertulia.testing.fake_openai import FakeOpenAI
from tests.server.doing import a_conversation, begin, log_of, said


async def a_failed_run(
    service: httpx2.AsyncClient, model: FakeOpenAI, conversation: str, *, key: str | None = None
) -> str:
    """Have a message kept whose run fails; return the run's id."""
    model.fault("429", retry_after=1000, times=1)
    response = await begin(service, conversation, "hi", key=key)
    assert response.status_code == 503, response.text
    return str(response.json()["run_id"])


async def take_back(service: httpx2.AsyncClient, conversation: str, how: str) -> None:
    """Withdraw or erase the first message of a conversation."""
    path = f"/v1/conversations/{conversation}"
    if how == "withdraw":
        response = await service.post(f"{path}/withdraw", json={"numbers": [1]})
    else:
        response = await service.delete(f"{path}/messages/1")
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("how", ["withdraw", "erase"])
async def test_what_was_taken_back_is_not_asked_again(
    service: httpx2.AsyncClient, model: FakeOpenAI, how: str
) -> None:
    conversation = await a_conversation(service)
    failed = await a_failed_run(service, model, conversation, key="k")
    await take_back(service, conversation, how)

    retried = await service.post(f"/v1/runs/{failed}/retry")
    repeated = await begin(service, conversation, "hi", key="k")

    for refused in retried, repeated:
        assert (refused.status_code, refused.json()["code"]) == (409, "conversation_moved_on")
    assert "withdrawn" in retried.json()["detail"]
    assert len(await log_of(service, conversation)) == 1


async def test_a_retry_that_fails_is_asked_again_by_its_own_run(
    service: httpx2.AsyncClient, model: FakeOpenAI
) -> None:
    conversation = await a_conversation(service)
    first = await a_failed_run(service, model, conversation)
    model.fault("429", retry_after=1000, times=1)

    again = await service.post(f"/v1/runs/{first}/retry", headers={"Idempotency-Key": "k"})
    second = again.json()["run_id"]
    same_key = await service.post(f"/v1/runs/{first}/retry", headers={"Idempotency-Key": "k"})
    as_told = await service.post(f"/v1/runs/{second}/retry")

    assert (again.status_code, again.headers["x-should-retry"]) == (503, "false")
    assert "same Idempotency-Key" not in again.json()["detail"]
    assert f"POST /v1/runs/{second}/retry" in again.json()["detail"]
    assert same_key.json() == again.json()
    assert as_told.json()["status"] == "completed"
    assert said(await log_of(service, conversation))[0] == "hi"
