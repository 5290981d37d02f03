"""The fake model server does as it is told."""

import asyncio
import sys
from typing import Any

import aiohttp
import pytest

from tertulia.testing.fake_openai import FakeOpenAI


def body(text: str = "hello [[1]]", **more: object) -> dict[str, object]:
    return {"model": "x", "messages": [{"role": "user", "content": text}], **more}


async def asked(http: aiohttp.ClientSession, fake: FakeOpenAI, request: dict[str, object]) -> Any:
    async with http.post(f"{fake.base_url}/chat/completions", json=request) as reply:
        assert reply.status == 200
        return await reply.json()


async def test_default_reply_counts_marks(fake: FakeOpenAI, http: aiohttp.ClientSession) -> None:
    fake.reply_chars = 50

    answer = await asked(http, fake, body("[[a [[b"))

    text = answer["choices"][0]["message"]["content"]
    assert text.startswith("m=2 ")
    assert len(text) == 50
    assert await asked(http, fake, body("[[a [[b")) == answer


async def test_stream_ends_in_usage_only_if_asked_for(fake: FakeOpenAI, http: aiohttp.ClientSession) -> None:
    texts = []
    for request in (body(stream=True), body(stream=True, stream_options={"include_usage": True})):
        async with http.post(f"{fake.base_url}/chat/completions", json=request) as reply:
            texts.append(await reply.text())

    assert all(text.endswith("data: [DONE]\n\n") for text in texts)
    assert ['"usage"' in text for text in texts] == [False, True]


async def test_script_is_said_before_the_default(fake: FakeOpenAI, http: aiohttp.ClientSession) -> None:
    fake.script(["text", {"a": 1}, lambda request: str(request["model"])])

    said = [(await asked(http, fake, body()))["choices"][0]["message"]["content"] for _ in range(4)]

    assert said[:3] == ["text", '{"a":1}', "x"]
    assert said[3].startswith("m=1 ")


async def test_faults_strike_as_often_as_told(fake: FakeOpenAI, http: aiohttp.ClientSession) -> None:
    fake.fault("500", every=3, times=2)
    statuses = []

    for _ in range(10):
        async with http.post(f"{fake.base_url}/chat/completions", json=body()) as reply:
            statuses.append(reply.status)

    assert [number for number, status in enumerate(statuses, 1) if status == 500] == [3, 6]


async def test_hanging_call_ends_with_its_connection(fake: FakeOpenAI) -> None:
    fake.fault("hang")
    async with aiohttp.ClientSession() as http:
        call = asyncio.create_task(asked(http, fake, body()))
        while not fake.open:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)
        call.cancel()

    while fake.open:  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0)
    assert fake.stats()["aborted"] == 1


async def test_slow_call_is_answered_in_the_end(fake: FakeOpenAI, http: aiohttp.ClientSession) -> None:
    fake.fault("slow", seconds=0.01)

    assert (await asked(http, fake, body()))["choices"]


def test_unknown_faults_and_settings_are_refused() -> None:
    fake = FakeOpenAI()

    with pytest.raises(ValueError, match="hang"):
        fake.fault("sulk")
    with pytest.raises(ValueError, match="tymes"):
        fake.fault("500", tymes=3)


async def test_it_is_steered_and_read_from_outside(fake: FakeOpenAI, http: aiohttp.ClientSession) -> None:
    root = fake.base_url.removesuffix("/v1")
    await asked(http, fake, body("once"))
    await asked(http, fake, body("twice"))
    await asked(http, fake, body("twice"))

    async with http.get(f"{root}/__stats") as reply:
        stats = await reply.json()
    async with http.post(
        f"{root}/__control",
        json={"reset": True, "reply_chars": 9, "faults": [{"kind": "503", "times": 1}], "script": ["said"]},
    ) as reply:
        assert reply.status == 200
    async with http.post(f"{fake.base_url}/chat/completions", json=body()) as reply:
        assert reply.status == 503

    assert (stats["calls"], stats["by_message"]) == (3, {"once": 1, "twice": 2})
    assert (await asked(http, fake, body()))["choices"][0]["message"]["content"] == "said"
    assert fake.calls == 2


async def test_wrong_steering_changes_nothing(fake: FakeOpenAI, http: aiohttp.ClientSession) -> None:
    root = fake.base_url.removesuffix("/v1")

    wrongs: list[object] = [[], {"faults": [{"kind": "sulk"}]}, {"faults": ["500"]}]
    for wrong in wrongs:
        async with http.post(f"{root}/__control", json=wrong) as reply:
            assert reply.status == 400

    assert (await asked(http, fake, body()))["choices"]


async def test_models_are_listed(fake: FakeOpenAI, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{fake.base_url}/models") as reply:
        assert [model["id"] for model in (await reply.json())["data"]] == ["fake-1"]
    async with http.get(f"{fake.base_url}/nothing") as reply:
        assert reply.status == 404


async def test_it_runs_as_a_program(http: aiohttp.ClientSession) -> None:
    program = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-c",
            f"import sys; sys.path[:0] = {sys.path!r}; from tertulia.testing.fake_openai import main; main()",
        ),
        *("--reply-chars", "20", "--forget"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert program.stdout
        url = (await program.stdout.readline()).decode().strip()
        async with http.post(f"{url}/chat/completions", json=body()) as reply:
            text = (await reply.json())["choices"][0]["message"]["content"]
    finally:
        program.terminate()
        await program.wait()

    assert len(text) == 20
