"""The server as a process: it starts, it answers, it stops in order, and another one goes on."""

import asyncio
import json
import signal
from pathlib import Path

from tertulia.testing.fake_openai import FakeOpenAI
from tests.cli.serving import served
from tests.server.doing import a_conversation, log_of, messages, say, told, until


async def test_it_serves_until_it_is_asked_to_stop(tmp_path: Path) -> None:
    async with served(tmp_path, TERTULIA_MODEL="scripted:echo") as (process, client):
        conversation = await a_conversation(client)
        answer = await say(client, conversation, "hello")
        process.send_signal(signal.SIGTERM)
        _, log = await process.communicate()

    assert answer.json()["response"] == "hello"
    assert process.returncode in {0, -signal.SIGTERM}
    assert b"Traceback" not in log
    assert b"hello" not in log
    [stopping] = [line for line in map(json.loads, log.splitlines()) if line["event"] == "stopping"]
    assert (stopping["level"], stopping["signal"], stopping["within_seconds"]) == ("info", "SIGTERM", 10)


async def test_another_process_goes_on_after_a_kill(tmp_path: Path) -> None:
    async with FakeOpenAI() as model:
        env = {
            "OPENAI_BASE_URL": model.base_url,
            "OPENAI_API_KEY": "sk-test",
            "TERTULIA_MODEL": "openai-chat:fake",
            "TERTULIA_LEASE_SECONDS": "0.5",
        }
        model.fault("hang")
        async with served(tmp_path, **env) as (process, client):
            conversation = await a_conversation(client)
            asking = asyncio.create_task(say(client, conversation, "one [[", key="k"))
            await until(lambda: model.open == 1)
            process.kill()
            await asyncio.gather(asking, return_exceptions=True)

        async with served(tmp_path, **env) as (_, client):
            again = await say(client, conversation, "one [[", key="k")
            said = await messages(client, conversation)

    assert again.json()["response"].startswith("m=1 ")
    assert [one["user_message"] for one in said] == ["one [["]


async def test_hanging_up_on_a_stream_stops_nothing(tmp_path: Path) -> None:
    async with FakeOpenAI() as model:
        env = {
            "OPENAI_BASE_URL": model.base_url,
            "OPENAI_API_KEY": "sk-test",
            "TERTULIA_MODEL": "openai-chat:fake",
        }
        model.latency = 0.1
        async with served(tmp_path, **env) as (_, client):
            conversation = await a_conversation(client)
            body = {"conversation_id": conversation, "message": "hi", "stream": True}
            async with client.stream("POST", "/v1/runs", json=body) as response:
                await until(lambda: model.open == 1)
            events = await client.get(f"{response.headers['location']}/events")
            log = await log_of(client, conversation)

    assert told(events.text)[-1].data["status"] == "completed"
    assert [message["role"] for message in log] == ["user", "assistant"]


async def test_who_waits_when_it_stops_is_told_that_the_message_is_kept(tmp_path: Path) -> None:
    async with FakeOpenAI() as model:
        env = {
            "OPENAI_BASE_URL": model.base_url,
            "OPENAI_API_KEY": "sk-test",
            "TERTULIA_MODEL": "openai-chat:fake",
            "TERTULIA_SHUTDOWN_SECONDS": "0",
        }
        model.fault("hang")
        async with served(tmp_path, **env) as (process, client):
            conversation = await a_conversation(client)
            asking = asyncio.create_task(say(client, conversation, "one [["))
            await until(lambda: model.open == 1)
            process.send_signal(signal.SIGTERM)
            told = await asking
            await process.communicate()

    assert told.status_code == 503
    assert told.headers["x-should-retry"] == "false"
    assert told.json()["run_id"].startswith("run_")
