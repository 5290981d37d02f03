"""The tutorial's own walk, with the embedded model, through a death in the middle of an answer."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.storm.servers import Caller, Place, serving

_CHEF = {
    "context": "You are a chef who specialises in Mediterranean food.",
    "first_message": "Hello, I am your personal chef. What shall we cook?",
    "response_shape": "",
    "instructions": "Tell much of how it is done.",
    "model": "local",
    "settings": {"max_tokens": 120, "seed": 7},
}


@dataclass(frozen=True, kw_only=True)
class Kitchen(Place):
    """A place with an embedded model of its own, which ends soon after its servers have."""

    runtime_dir: Path

    @property
    @override
    def environment(self) -> dict[str, str]:
        return super().environment | {"TERTULIA_RUNTIME_DIR": str(self.runtime_dir)}


async def test_chef_goes_on_after_the_server_was_killed_in_the_middle_of_an_answer(
    sqlite_url: str, fake: FakeOpenAI, caller: Caller, tmp_path: Path
) -> None:
    place = Kitchen(database_url=sqlite_url, fake=fake, runtime_dir=tmp_path / "run")
    questions = ["What can five of us eat?", "One of us is allergic to peanuts.", "And for dessert?"]

    async with serving(place) as first:
        agent = (await caller.post(first, "/agents/create-agent", _CHEF)).json
        made = await caller.post(first, "/agents/create-conversation", {"agent_id": agent["id"]})
        conversation = str(made.json["id"])
        answers = [await caller.chat(first, conversation, questions[0])]
        second = asyncio.create_task(caller.chat(first, conversation, questions[1], key="second"))
        while len(await caller.exchanges(first, conversation)) < 2:
            assert not second.done()
        await first.kill()
        await asyncio.gather(second, return_exceptions=True)

    async with serving(place) as heir:
        answers.append(await caller.chat(heir, conversation, questions[1], key="second"))
        answers.append(await caller.chat(heir, conversation, questions[2]))
        told = await caller.exchanges(heir, conversation)

    assert [answer.status for answer in answers] == [200] * 3
    assert all(answer.text for answer in answers)
    assert [pair["user_message"] for pair in told] == questions
    assert [pair["agent_message"] for pair in told] == [answer.text for answer in answers]
    assert fake.calls == 0
