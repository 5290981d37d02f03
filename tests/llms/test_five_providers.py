"""One conversation that is moved from provider to provider, with pictures, tools and structured answers."""

from itertools import permutations

import orjson
import pytest

from tertulia.llms.base import Finished, Prompt, Shown
from tertulia.llms.by_pydantic_ai.plug import PydanticAILLM
from tertulia.llms.options import ModelName
from tertulia.parts import Media, Text, ToolResult
from tertulia.testing.llm_contract import WEATHER, heard
from tests.llms.conversations import PIXEL, marks_of
from tests.llms.wire_server import MODELS, WireServer

FIVE = ("anthropic", "google", "cohere", "mistral", "groq")
SHAPE = {"type": "object", "properties": {"summary": {"type": "string"}}, "required": ["summary"]}
ORDERS = [*permutations(FIVE)][::17]


class Talk:
    """A conversation as the turns of an agent would show it."""

    def __init__(self) -> None:
        self.shown: list[Shown] = [Shown(role="system", text="<<0>> You tell the weather.")]
        self.marks = ["<<0>>"]

    def marked(self, text: str) -> str:
        """Return the text under the next mark."""
        self.marks.append(f"<<{len(self.marks)}>>")
        return f"{self.marks[-1]} {text}"

    async def have_turn(self, server: WireServer, llm: PydanticAILLM) -> None:
        """Let a user show a picture and the model look up the weather, and have it told as JSON."""
        if self.marks[1:]:
            # Not every provider sees pictures; they stay in the history for those that do.
            self.say(Text(text=self.marked("And there?")))
        else:
            self.say(Text(text=self.marked("Here?")), Media(kind="image", base64=PIXEL, name="here.png"))
        called = await self.ask(server, llm, "call", Prompt(messages=self.shown, tools=(WEATHER,)))
        for call in called.calls:
            result = ToolResult(call_id=call.id, name=call.name, text=self.marked("17 degrees"))
            self.shown.append(Shown(role="tool", text=result.text, parts=(result,)))
        await self.ask(
            server, llm, "plain", Prompt(messages=self.shown, tools=(WEATHER,), response_schema=SHAPE)
        )
        self.say(Text(text=self.marked("As JSON, please.")))
        await self.ask(
            server, llm, "plain", Prompt(messages=self.shown, response_schema=SHAPE, wants_deltas=False)
        )

    def say(self, *parts: Text | Media) -> None:
        """Have the user say something."""
        text = "".join(part.text for part in parts if isinstance(part, Text))
        self.shown.append(Shown(role="user", text=text, parts=parts))

    async def ask(self, server: WireServer, llm: PydanticAILLM, says: str, prompt: Prompt) -> Finished:
        """Ask, and keep what was answered; the server refuses what its provider would."""
        server.says = says
        whole = (await heard(llm, prompt))[-1]
        assert isinstance(whole, Finished)
        assert marks_of(server.bodies[-1]) == self.marks
        text = self.marked(whole.text)
        self.shown.append(
            Shown(role="assistant", text=text, parts=(*whole.reasoning, Text(text=text), *whole.calls))
        )
        return whole


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order[0])
async def test_conversation_may_be_moved_from_each_provider_to_any_other(order: tuple[str, ...]) -> None:
    talk = Talk()
    # Those that see pictures first, as a new picture is refused by those that do not.
    order = tuple(sorted(order, key=lambda provider: provider == "cohere"))

    for provider in order:
        async with WireServer(provider) as server:
            llm = PydanticAILLM(ModelName(provider, MODELS[provider]), server.options)
            await talk.have_turn(server, llm)
            sees = PIXEL[:40].encode() in orjson.dumps(server.bodies[-1])
            await llm.close()
        assert sees == (provider != "cohere")

    assert len(talk.shown) == 1 + len(FIVE) * 6
