"""Messages that are more than text, from being said to being shown."""

from collections.abc import Sequence

import pytest

from tertulia.errors import IdempotencyMismatch, InvalidInput
from tertulia.memory.tokens import tokens_of
from tertulia.parts import Media, Part, Reasoning, Text, ToolCall, ToolResult, Unknown
from tertulia.runtime import RunOptions
from tests.turn.kitchen import a_kitchen

IMAGE = Media(kind="image", media_type="image/png", base64="aGk=")
OTHER = Media(kind="image", media_type="image/png", base64="aG8=")
LINK = Media(kind="image", url="https://example.org/a.png")


async def test_media_are_kept_and_shown_in_this_turn_and_the_next() -> None:
    said: list[Part] = [Text(text="What is this, "), IMAGE, Text(text="and this?"), LINK]
    async with a_kitchen(["Two images.", "Yes."]) as kitchen:
        await (await kitchen.runtime.submit(said, conversation=kitchen.row.id)).finished()
        await kitchen.ask("Sure?")

        [first, *_] = await kitchen.messages()
        assert first.content == tuple(said)
        assert first.text == "What is this, and this?"
        for prompt in kitchen.llm.asked:
            assert prompt.messages[2].parts == tuple(said)
        row = await kitchen.conversation()
        assert row.tokens == sum(tokens_of(message.content) for message in await kitchen.messages())


async def test_image_alone_is_a_message() -> None:
    async with a_kitchen(["An image."]) as kitchen:
        await (await kitchen.runtime.submit([IMAGE], conversation=kitchen.row.id)).finished()

        assert kitchen.llm.asked[0].messages[-1].parts == (IMAGE,)


@pytest.mark.parametrize(
    "said",
    [
        "",
        " \n",
        [],
        [Text(text=" "), Text(text="")],
        "a\x00b",
        "a\ud800b",
        [Text(text="a"), Text(text="\x00")],
        [Media(kind="image", url="https://example.org/\x00")],
        [Media(kind="file", base64="aGk=", name="\ud800")],
        [Text(text="a"), ToolCall(id="c", name="add", arguments="{}")],
        [ToolResult(call_id="c", name="add", text="3")],
        [Text(text="a"), Reasoning(text="Hm.")],
        [Text(text="a"), Unknown(raw={"type": "new"})],
    ],
)
async def test_what_cannot_be_said_is_refused_and_nothing_is_kept(said: str | Sequence[Part]) -> None:
    async with a_kitchen([]) as kitchen:
        with pytest.raises(InvalidInput):
            await kitchen.runtime.submit(said, conversation=kitchen.row.id)

        assert await kitchen.messages() == []


async def test_same_parts_under_one_key_are_one_message_and_others_are_refused() -> None:
    options = RunOptions(idempotency_key="k")
    said: list[Part] = [Text(text="What?"), IMAGE]
    others: list[list[Part]] = [
        [Text(text="What?"), OTHER],
        [IMAGE, Text(text="What?")],
        [Text(text="What?")],
        [Text(text="What?"), IMAGE, IMAGE],
        [Text(text="Wha"), Text(text="t?"), IMAGE],
    ]
    async with a_kitchen(["An image."]) as kitchen:
        first = await kitchen.runtime.submit(said, conversation=kitchen.row.id, options=options)
        again = await kitchen.runtime.submit(tuple(said), conversation=kitchen.row.id, options=options)
        await first.finished()
        for other in others:
            with pytest.raises(IdempotencyMismatch):
                await kitchen.runtime.submit(other, conversation=kitchen.row.id, options=options)

        assert again.run.id == first.run.id
        assert not again.is_new
        assert len(await kitchen.messages()) == 2


async def test_text_as_a_part_is_the_same_request_as_the_text_itself() -> None:
    options = RunOptions(idempotency_key="k")
    async with a_kitchen(["Hello."]) as kitchen:
        first = await kitchen.runtime.submit("Hi.", conversation=kitchen.row.id, options=options)
        again = await kitchen.runtime.submit([Text(text="Hi.")], conversation=kitchen.row.id, options=options)

        assert again.run.id == first.run.id
