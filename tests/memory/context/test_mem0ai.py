"""Memories kept by Mem0, through the client of the mem0ai package."""

import asyncio
import atexit
import os
import shutil
import tempfile
from collections.abc import AsyncIterator

import pytest

from tertulia.memory.context.mem0 import Mem0Client, Mem0ContextProvider
from tertulia.testing.context_contract import Lesson, Visit, answered
from tests.demanded import demanded
from tests.memory.context.fake_mem0 import KEY, FakeMem0, running

# The package reads these when it is imported, and would write to the home directory and call home.
os.environ["MEM0_TELEMETRY"] = "False"
HOME = os.environ["MEM0_DIR"] = tempfile.mkdtemp(prefix="tertulia-mem0-")
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
mem0 = demanded("mem0")

TEA = Lesson(said="I like green tea.", word="green tea", question="Which tea do I like?")


@pytest.fixture
async def fake() -> AsyncIterator[FakeMem0]:
    async with running() as server:
        yield server


@pytest.fixture
async def client(fake: FakeMem0) -> AsyncIterator[Mem0Client]:
    # It asks the server for its name while it is made, and blocks.
    made = await asyncio.to_thread(mem0.AsyncMemoryClient, api_key=KEY, host=fake.base_url)
    async with made:
        yield made


@pytest.fixture
def visit(client: Mem0Client) -> Visit:
    return Visit(Mem0ContextProvider(client))


async def test_what_was_said_is_recalled(fake: FakeMem0, visit: Visit) -> None:
    fake.remember("Likes green tea", user_id="ana")

    await visit.hear(TEA)
    told = await visit.elsewhere(user="ana").told(TEA.question)

    assert "I like green tea." in told
    assert [add["user_id"] for add in fake.adds] == ["ana"]


async def test_applications_are_told_by_their_name(fake: FakeMem0, client: Mem0Client) -> None:
    visit = Visit(Mem0ContextProvider(client, application_id="app", search_application_id=None))

    await visit.hear(TEA)

    assert [add["app_id"] for add in fake.adds] == ["app"]
    assert fake.searches == []


async def test_its_failures_are_reported_without_what_the_server_said(fake: FakeMem0, visit: Visit) -> None:
    fake.failing = {"add"}
    run = visit.run(TEA.said)

    failures = await visit.company.after(run, answered(run, "I see."))

    assert len(failures) == 1
    assert failures[0].message.startswith("Mem0's client failed")
    assert "4711" not in failures[0].message


async def test_a_borrowed_client_stays_open(fake: FakeMem0, visit: Visit) -> None:
    await visit.provider.close()

    await visit.hear(TEA)

    assert len(fake.adds) == 1
