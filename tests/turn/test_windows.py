"""Tools and the room that a model has: what is left out is history, never the turn's own."""

import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace

import pytest
from typing_extensions import override

from tertulia import ids
from tertulia.agent.stored import PERFORMER, AgentPerformer
from tertulia.conversations import NewConversation
from tertulia.errors import ContextTooLong
from tertulia.llms.base import LLM, Joinable, LLMEvent, Prompt, Shown
from tertulia.llms.models import Models
from tertulia.llms.scripted import ScriptedLLM, ScriptedReply
from tertulia.parts import ToolCall
from tertulia.runtime import Runtime
from tertulia.stores.in_memory import InMemoryStore
from tertulia.tools.functions import tool
from tertulia.tools.toolbox import Toolbox
from tests.turn.kitchen import DEFINITION, a_kitchen


@tool(is_idempotent=True)
def read(size: int) -> str:
    """Read something."""
    return "word " * size


def a_call(ident: str, size: int = 1) -> ToolCall:
    return ToolCall(id=ident, name="read", arguments=json.dumps({"size": size}))


def _length(prompt: Prompt) -> int:
    return sum(len(shown.text) for shown in prompt.messages)


def small(most: int, reply: Callable[[Prompt], ScriptedReply]) -> Callable[[Prompt], ScriptedReply]:
    """A model that takes no more than so many characters."""
    return lambda prompt: ContextTooLong("too long") if _length(prompt) > most else reply(prompt)


def uses(*sizes: int) -> Callable[[Prompt], ScriptedReply]:
    """A model that reads so much at a time, each turn anew, and says that it has."""

    def reply(prompt: Prompt) -> ScriptedReply:
        last_user = max(at for at, shown in enumerate(prompt.messages) if shown.role == "user")
        used = sum(shown.role == "tool" for shown in prompt.messages[last_user:])
        return [a_call(f"c{used}", sizes[used])] if used < len(sizes) else "Read."

    return reply


async def test_prompt_that_grows_too_long_within_a_turn_loses_history_and_none_of_the_turn() -> None:
    async with a_kitchen(
        small(2600, lambda prompt: "b " * 60 if "Read" not in prompt.messages[-1].text else "Read."),
        context_tokens=1000,
        tools=[read],
    ) as kitchen:
        for turn in range(6):
            await kitchen.ask(f"{turn} " + "a " * 60)
        kitchen.llm._reply = small(2600, uses(100, 100, 100))
        finished = await kitchen.ask("Read it.")

        last = kitchen.llm.prompts[-1]
        own = [shown["content"] for shown in last if shown["role"] == "tool"]
        at = next(i for i, shown in enumerate(last) if shown["content"] == "Read it.")
        assert finished.messages[-1].text == "Read."
        assert own == ["word " * 100] * 3
        assert [shown["role"] for shown in last[at:]] == ["user", *["assistant", "tool"] * 3]
        assert at < 2 + 12
        assert finished.usage.model_calls == 4


async def test_results_of_one_turn_that_no_model_has_room_for_fail_it() -> None:
    async with a_kitchen(small(150, uses(200)), context_tokens=1000, tools=[read]) as kitchen:
        with pytest.raises(ContextTooLong):
            await kitchen.ask("Read it.")

        assert [message.role for message in await kitchen.messages()] == ["user", "assistant", "tool"]
        assert len(kitchen.llm.prompts) <= 1 + 4


async def test_long_results_leave_the_window_with_their_turn() -> None:
    async with a_kitchen(uses(300), context_tokens=600, tools=[read]) as kitchen:
        for turn in range(4):
            await kitchen.ask(f"{turn}?")

        for prompt in kitchen.llm.asked:
            roles = [shown.role for shown in prompt.messages[2:]]
            assert roles[0] == "user"
            assert roles.count("tool") == sum(bool(shown.parts) for shown in prompt.messages[2:]) / 2
        assert kitchen.llm.prompts[-1][2]["content"] == "3?"


class _Counting(ScriptedLLM):
    """Encodes what it is shown, as a plug does, and counts that."""

    def __init__(self, reply: Callable[[Prompt], ScriptedReply]) -> None:
        super().__init__(reply)
        self.encoded = 0
        self.calls: list[int] = []

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        before = self.encoded
        assert isinstance(prompt.messages, Joinable)
        joined = b",".join(prompt.messages.pieces("wire", self._encode))
        self.calls.append(self.encoded - before)
        assert joined == b",".join(shown.text.encode() for shown in prompt.messages)
        async for event in super().stream(prompt):
            yield event

    def _encode(self, shown: Shown) -> bytes:
        if "wire" not in shown.wire:
            self.encoded += 1
            shown.wire["wire"] = shown.text.encode()
        return shown.wire["wire"]


async def test_call_within_a_turn_encodes_nothing_but_what_is_new() -> None:
    llm = _Counting(lambda _: "b")
    async with a_kitchen(llm, tools=[read]) as kitchen:
        for turn in range(20):
            await kitchen.ask(f"{turn}")
        before = len(llm.calls)
        llm._reply = uses(1, 1, 1)
        await kitchen.ask("Read.")
        await kitchen.ask("Read.")

        within_turns = [*llm.calls[before + 1 : before + 4], *llm.calls[before + 5 :]]
        assert within_turns == [2] * 6
        # What the turn before has said is encoded as the log has it, and nothing before that.
        assert llm.calls[before + 4] <= 9
        assert all(count <= 2 for count in llm.calls[1:before])


async def test_turns_with_tools_do_not_read_the_log_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_kitchen(uses(1, 1), tools=[read]) as kitchen:
        await kitchen.ask("First?")

        async def never(*_: object, **__: object) -> None:
            raise AssertionError("the log was read")

        with monkeypatch.context() as patch:
            patch.setattr(kitchen.store.conversations, "recent", never)
            patch.setattr(kitchen.store.conversations, "messages", never)
            await kitchen.ask("Second?")
            await kitchen.ask("Third?")

        assert len(await kitchen.messages()) == 18


async def test_answer_that_nobody_follows_may_come_in_one_piece() -> None:
    async with a_kitchen(lambda _: "Yes.") as kitchen:
        await kitchen.ask("Alone?")
        await kitchen.follow("Now?")

        assert [prompt.wants_deltas for prompt in kitchen.llm.asked] == [False, True]


class _One(Models):
    def __init__(self, *llms: LLM) -> None:
        super().__init__("scripted:echo")
        self._llms = {llm.name: llm for llm in llms}

    @override
    def get(self, wanted: object) -> LLM:
        found = self._llms.get(str(wanted))
        return found or next(iter(self._llms.values()))


async def test_conversation_goes_on_with_another_model_which_is_shown_the_same() -> None:
    first = ScriptedLLM([[a_call("a")], "One.", "Back."], name="first")
    second = ScriptedLLM([[a_call("a")], "Two."], name="second")
    store = InMemoryStore()
    performer = AgentPerformer(store, _One(first, second), context_tokens=4000, toolbox=Toolbox([read]))
    runtime = Runtime(store, {PERFORMER: performer})
    await runtime.start()
    definition = replace(DEFINITION, tools=("read",), model="first")
    agent = await store.agents.create(0, ids.new_id(ids.AGENT), definition)
    row = await store.conversations.create(
        0, NewConversation(id=ids.new_id(ids.CONVERSATION), agent_id=agent.id)
    )

    for model in ("first", "second", "first"):
        await store.agents.update(0, agent.id, replace(definition, model=model))
        await (await runtime.submit("Read.", conversation=row.id)).finished()
    await runtime.stop()

    assert second.prompts[0][:-2] == first.prompts[1]
    assert first.prompts[-1][: len(second.prompts[-1])] == second.prompts[-1]
    assert [shown["content"] for shown in first.prompts[-1][2:]] == [
        *("Read.", "", "word ", "One."),
        *("Read.", "", "word ", "Two."),
        "Read.",
    ]
