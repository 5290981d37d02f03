"""What every language model does whose provider keeps answers and conversations."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pytest

from tertulia.errors import AnswerGone
from tertulia.llms.base import LLM, Prompt, Shown
from tertulia.parts import ToolCall
from tertulia.testing.llm_contract import a_prompt, a_question, finished, heard, with_results

LONG_ASIDE: Final = "Today is Monday, and the kitchen is closed. " * 100
"""Costs more than all else that is said here."""


def to_be_kept(prompt: Prompt) -> Prompt:
    """Return a prompt whose answer its provider is to keep."""
    return replace(prompt, settings=replace(prompt.settings, store=True))


def going_on(text: str = "Go on.") -> Prompt:
    """Return a prompt that shows nothing of what was said before."""
    return replace(a_prompt(), messages=(Shown(role="user", text=text),))


def only_results(calls: Sequence[ToolCall]) -> Prompt:
    """Return a prompt that tells what came of calls of tools, and nothing else."""
    question = a_question()
    told = with_results(question, calls).messages[len(question.messages) + 1 :]
    return replace(question, messages=told)


@pytest.mark.asyncio
class KeepingContract:
    """The laws for models whose provider can keep answers; a subclass gives the fixture ``keeping``.

    ``keeping`` can be asked at least ten times.
    """

    async def test_it_says_that_it_keeps_answers(self, keeping: LLM) -> None:
        assert keeping.keeps_answers

    async def test_answer_that_is_to_be_kept_has_an_id(self, keeping: LLM) -> None:
        one, other = [await finished(keeping, to_be_kept(a_prompt())) for _ in range(2)]

        assert one.external_id
        assert other.external_id
        assert one.external_id != other.external_id

    @pytest.mark.parametrize("wants_deltas", [True, False], ids=["streamed", "whole"])
    async def test_answer_is_followed_with_only_what_is_new(self, keeping: LLM, wants_deltas: bool) -> None:
        first = await finished(keeping, to_be_kept(a_prompt()))
        prompt = replace(going_on(), wants_deltas=wants_deltas)

        second = await finished(keeping, replace(prompt, follows=first.external_id))
        third = await finished(keeping, replace(prompt, follows=second.external_id))

        assert all(answer.text for answer in (second, third))
        assert len({answer.external_id for answer in (first, second, third)} - {None}) == 3

    async def test_one_answer_may_be_followed_by_two(self, keeping: LLM) -> None:
        first = await finished(keeping, to_be_kept(a_prompt()))
        follower = replace(going_on(), follows=first.external_id)

        one, other = [await finished(keeping, follower) for _ in range(2)]

        assert one.external_id != other.external_id
        assert (await finished(keeping, replace(follower, follows=one.external_id))).text

    async def test_conversation_is_gone_on_with(self, keeping: LLM) -> None:
        conversation = await keeping.begin_conversation()

        first = await finished(keeping, replace(a_prompt(), within=conversation))
        second = await finished(keeping, replace(going_on(), within=conversation))

        assert first.text
        assert second.text
        assert len({first.external_id, second.external_id} - {None}) == 2

    async def test_conversation_goes_before_the_answers_in_it(self, keeping: LLM) -> None:
        conversation = await keeping.begin_conversation()
        first = await finished(keeping, replace(a_prompt(), within=conversation))

        prompt = replace(going_on(), within=conversation, follows=first.external_id)

        assert (await finished(keeping, prompt)).text

    @pytest.mark.parametrize("is_conversation", [True, False], ids=["within", "follows"])
    async def test_aside_is_told_and_not_kept(self, keeping: LLM, is_conversation: bool) -> None:
        within = await keeping.begin_conversation() if is_conversation else None
        first = await finished(keeping, replace(to_be_kept(a_prompt()), within=within, aside=LONG_ASIDE))

        follows = None if is_conversation else first.external_id
        second = await finished(keeping, replace(going_on(), within=within, follows=follows))

        # It is shown all that the first was shown, and the answer, too; but for the aside.
        assert second.usage.input_tokens < first.usage.input_tokens

    async def test_conversations_are_not_mixed_up(self, keeping: LLM) -> None:
        one, other = [await keeping.begin_conversation() for _ in range(2)]

        await keeping.forget_conversation(one)

        assert one != other
        assert (await finished(keeping, replace(a_prompt(), within=other))).text

    async def test_forgotten_conversation_is_gone(self, keeping: LLM) -> None:
        conversation = await keeping.begin_conversation()
        await finished(keeping, replace(a_prompt(), within=conversation))

        await keeping.forget_conversation(conversation)
        await keeping.forget_conversation(conversation)

        with pytest.raises(AnswerGone):
            await heard(keeping, replace(going_on(), within=conversation))


@pytest.mark.asyncio
class KeptCallsContract:
    """The laws for models that use tools and whose answers are kept; a subclass gives ``calling``.

    ``calling`` is as for :class:`CallingContract`.
    """

    async def test_results_alone_may_follow_the_calls(self, calling: LLM) -> None:
        asked = await finished(calling, to_be_kept(a_question()))

        told = replace(only_results(asked.calls), follows=asked.external_id)

        assert (await finished(calling, told)).text

    async def test_results_alone_may_be_told_within_a_conversation(self, calling: LLM) -> None:
        conversation = await calling.begin_conversation()
        asked = await finished(calling, replace(a_question(), within=conversation))

        told = replace(only_results(asked.calls), within=conversation)

        assert (await finished(calling, told)).text
