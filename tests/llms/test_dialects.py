"""What a server cannot do is found out from its errors, and only from those that are about it."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, TypeAlias

import pytest
from aiohttp import web

from tertulia.agent_settings import ModelSettings
from tertulia.errors import ModelRefused
from tertulia.llms.base import Prompt
from tertulia.llms.openai_chat import OpenAIChat
from tertulia.llms.openai_responses import OpenAIResponses
from tertulia.testing.llm_contract import a_prompt, heard

Body: TypeAlias = Mapping[str, Any]
Refuse: TypeAlias = Callable[[Body], Mapping[str, object] | None]
"""Gives the error to answer a request with, if it is to be refused."""

ODD: Final = "odd"
RESPONSE: Final = {
    "id": "resp_1",
    "status": "completed",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}],
}
COMPLETION: Final = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}


@asynccontextmanager
async def serving(asked: list[Body], refuse: Refuse) -> AsyncIterator[str]:
    """Run a server that answers all that it does not refuse; give its address."""

    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        asked.append(body)
        if error := refuse(body):
            return web.json_response({"error": error}, status=400)
        return web.json_response(RESPONSE if request.path == "/responses" else COMPLETION)

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def says_odd(body: Body) -> bool:
    return ODD in str(body.get("input") or body.get("messages"))


KEPT: Final = replace(a_prompt(), settings=ModelSettings(background=True), wants_deltas=False)
THOUGHT: Final = replace(a_prompt(), settings=ModelSettings(reasoning_effort="low"), wants_deltas=False)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (KEPT, {"message": "In context=('properties', 'store')", "param": "text.format.schema"}),
        (KEPT, {"message": "the property store of your schema has no type"}),
        (THOUGHT, {"message": "In context=('properties', 'summary')", "param": "text.format.schema"}),
        (THOUGHT, {"message": "the property summary of your schema has no type"}),
    ],
)
async def test_an_error_about_something_else_changes_nothing_for_others(
    prompt: Prompt, words: Mapping[str, object]
) -> None:
    asked: list[Body] = []
    odd = replace(prompt, messages=a_prompt(ODD).messages)

    async with serving(asked, lambda body: words if says_odd(body) else None) as address:
        llm = OpenAIResponses("m", base_url=address)
        await heard(llm, prompt)
        with pytest.raises(ModelRefused):
            await heard(llm, odd)
        await heard(llm, prompt)
        await llm.close()

    assert asked[-1] == asked[0]


async def test_an_error_that_names_another_field_is_not_tried_again() -> None:
    asked: list[Body] = []

    async with serving(asked, lambda _: {"message": "store", "param": "text.format.schema"}) as address:
        llm = OpenAIResponses("m", base_url=address)
        with pytest.raises(ModelRefused):
            await heard(llm, KEPT)
        await llm.close()

    assert len(asked) == 1


async def test_what_a_server_lacks_is_asked_for_once() -> None:
    asked: list[Body] = []

    def refuse(body: Body) -> Mapping[str, object] | None:
        if body.get("background"):
            return {"message": "not supported", "param": "background"}
        return {"message": "unknown value", "param": "include[0]"} if body.get("include") else None

    async with serving(asked, refuse) as address:
        llm = OpenAIResponses("m", base_url=address)
        background = replace(KEPT, settings=ModelSettings(background=True, reasoning_effort="low"))
        await heard(llm, background)
        await heard(llm, background)
        await llm.close()

    assert [(body.get("background"), "include" in body) for body in asked] == [
        (True, False),
        (None, True),
        (None, False),
        (None, False),
    ]


async def test_a_server_that_counts_is_not_thought_not_to() -> None:
    asked: list[Body] = []
    streamed = replace(a_prompt(), wants_deltas=True)
    odd = replace(streamed, messages=a_prompt(ODD).messages)

    def refuse(body: Body) -> Mapping[str, object] | None:
        return {"message": "no stream_options in a schema"} if says_odd(body) else None

    async with serving(asked, refuse) as address:
        llm = OpenAIChat("m", base_url=address)
        with pytest.raises(ModelRefused):
            await heard(llm, odd)
        await heard(llm, streamed)
        await llm.close()

    assert ["stream_options" in body for body in asked] == [True, False, True]


@pytest.mark.parametrize("param", ["response_format", "messages[0].content"])
async def test_an_error_that_names_its_field_is_about_nothing_else(param: str) -> None:
    asked: list[Body] = []

    async with serving(asked, lambda _: {"message": "stream_options", "param": param}) as address:
        llm = OpenAIChat("m", base_url=address)
        with pytest.raises(ModelRefused):
            await heard(llm, a_prompt())
        await llm.close()

    assert len(asked) == 1
