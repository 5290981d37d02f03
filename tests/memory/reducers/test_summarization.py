"""Summaries in the place of what is no longer shown."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import replace

import pytest
from typing_extensions import override

from tertulia.errors import InvalidInput, ModelError, ModelMalformed, ModelUnreachable, UnknownModel
from tertulia.llms.base import LLM, Finished, FinishReason, LLMEvent, Prompt, TextDelta
from tertulia.llms.models import ModelNames, Models
from tertulia.llms.scripted import ScriptedLLM
from tertulia.memory.reducers import ReducerChain, SummarizationReducer, TokenBudgetReducer
from tertulia.memory.reducers.spending import spending
from tertulia.memory.reducers.summing import HEADING
from tertulia.messages import Flag, Message
from tertulia.parts import Media, text_content
from tertulia.usage import Usage
from tests.memory.reducers.talk import Talk, places, texts


def asked_for(llm: ScriptedLLM, call: int = 0) -> str:
    """Return what a model was told to sum up."""
    return str(llm.prompts[call][-1]["content"])


async def test_a_summary_stands_for_what_is_cut() -> None:
    llm, messages = ScriptedLLM(["they spoke"]), Talk().turns(4)

    shown = await SummarizationReducer(llm, 4).reduce(messages[:6])

    assert texts(shown) == [f"{HEADING}\nthey spoke", "q1", "a1", "q2", "a2"]
    assert (shown[0].role, shown[0].stands_for) == ("user", tuple(places(messages[:2])))
    assert asked_for(llm) == "What was said:\n<conversation>\nuser: q0\nassistant: a0\n</conversation>"


async def test_nothing_is_asked_before_the_threshold_is_passed() -> None:
    llm, messages = ScriptedLLM(["they spoke"]), Talk().turns(5)
    reducer = SummarizationReducer(llm, 4, 4)

    assert await reducer.reduce(messages[:8]) == messages[:8]
    assert not reducer.is_due(messages[:8])
    assert reducer.is_due(messages[:9])
    assert llm.prompts == []


async def test_the_next_summary_is_made_of_the_one_before_and_what_is_newly_cut() -> None:
    llm, messages = ScriptedLLM(["first", "second"]), Talk().turns(4)
    reducer = SummarizationReducer(llm, 4)

    once = await reducer.reduce(messages[:6])
    twice = await reducer.reduce([*once, *messages[6:]])

    assert texts(twice) == [f"{HEADING}\nsecond", "q2", "a2", "q3", "a3"]
    assert twice[0].stands_for == tuple(places(messages[:4]))
    assert "<summary>\nfirst\n</summary>" in asked_for(llm, 1)
    assert asked_for(llm, 1).endswith("<conversation>\nuser: q1\nassistant: a1\n</conversation>")


async def test_the_id_of_a_summary_says_what_it_is_made_of_and_not_what_it_says() -> None:
    messages = Talk().turns(4)

    one = await SummarizationReducer(ScriptedLLM(["one"]), 4).reduce(messages)
    other = await SummarizationReducer(ScriptedLLM(["other"]), 4).reduce(messages)
    further = await SummarizationReducer(ScriptedLLM(["one"]), 2).reduce(messages)

    assert one[0].id == other[0].id != further[0].id
    assert one[0].text != other[0].text


async def test_of_uses_of_tools_nothing_is_told_and_no_pair_is_parted() -> None:
    llm, talk = ScriptedLLM(["they spoke"]), Talk()
    old = [talk.user("old"), talk.call("x", text="wait"), talk.result("x", "secret"), talk.assistant("so")]

    shown = await SummarizationReducer(llm, 2).reduce([*old, talk.user("new")])

    assert shown[0].stands_for == tuple(places(old))
    assert texts(shown)[1:] == ["new"]
    assert "secret" not in asked_for(llm)
    assert "user: old\nassistant: wait\nassistant: so" in asked_for(llm)


async def test_what_is_no_text_is_named() -> None:
    llm, talk = ScriptedLLM(["they spoke"]), Talk()
    photo = talk.message("user", Media(kind="image", base64="AAAA"), *text_content("what is this?"))
    file = talk.message("user", Media(kind="file", base64="AAAA", name="a.pdf"))

    await SummarizationReducer(llm, 1).reduce([photo, file, talk.user("new")])

    assert "user: [image]\nwhat is this?\nuser: [file: a.pdf]" in asked_for(llm)
    assert "AAAA" not in asked_for(llm)


async def test_authors_are_named() -> None:
    llm, talk = ScriptedLLM(["they spoke"]), Talk()
    said = replace(talk.assistant("hello"), author="Chef")

    await SummarizationReducer(llm, 1).reduce([talk.user("hi"), said, talk.user("new")])

    assert "user: hi\nChef: hello" in asked_for(llm)


async def test_where_nobody_has_said_anything_there_is_nothing_to_sum_up() -> None:
    llm, talk = ScriptedLLM([]), Talk()
    messages = [talk.call("x"), talk.result("x"), talk.call("y"), talk.result("y"), talk.user("new")]

    assert await SummarizationReducer(llm, 1).reduce(messages) == messages


async def test_what_piled_up_is_summed_up_piece_by_piece() -> None:
    llm, talk = ScriptedLLM(lambda prompt: f"summary {prompt.messages[-1].text.count('long')}"), Talk()
    messages = [talk.user(f"long {turn} " + "word " * 2000) for turn in range(12)]

    shown = await SummarizationReducer(llm, 1).reduce(messages)

    assert len(llm.prompts) == 4
    assert "<summary>\nsummary 3\n</summary>" in asked_for(llm, 1)
    assert shown[0].stands_for == tuple(places(messages[:-1]))


async def test_system_messages_stay_where_they_are() -> None:
    talk = Talk()
    messages = [talk.system("be kind"), *talk.turns(2), talk.system("be brief"), talk.user("new")]

    shown = await SummarizationReducer(ScriptedLLM(["they spoke"]), 1).reduce(messages)

    assert texts(shown) == ["be kind", f"{HEADING}\nthey spoke", "be brief", "new"]


class Silent(LLM):
    """A model whose answer has no end."""

    name = "silent"
    window = None

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        if prompt.may_call:
            yield TextDelta("they sp")

    @override
    async def close(self) -> None:
        pass


def ending(reason: FinishReason) -> ScriptedLLM:
    return ScriptedLLM([Finished(text="they sp", model="m", finish_reason=reason)])


FAILING: dict[str, Callable[[], LLM]] = {
    "unreachable": lambda: ScriptedLLM([ModelUnreachable("no connection")]),
    "empty": lambda: ScriptedLLM(["  "]),
    "cut short": lambda: ending("length"),
    "withheld": lambda: ending("content_filter"),
    "no end": Silent,
}


@pytest.mark.parametrize("llm", FAILING.values(), ids=FAILING)
async def test_a_model_that_fails_leaves_everything_as_it_was(llm: Callable[[], LLM]) -> None:
    messages = Talk().turns(4)

    assert await SummarizationReducer(llm(), 2).reduce(messages) == messages


@pytest.mark.parametrize("llm", FAILING.values(), ids=FAILING)
async def test_or_its_error_is_raised(llm: Callable[[], LLM]) -> None:
    with pytest.raises(ModelError):
        await SummarizationReducer(llm(), 2, on_error="raise").reduce(Talk().turns(4))


async def test_where_a_model_fails_the_other_reducers_of_a_chain_still_work() -> None:
    talk, llm = Talk(), ScriptedLLM([ModelMalformed("no summary")])
    messages = [talk.user("word " * 100), talk.assistant(), talk.user("new")]

    shown = await ReducerChain([SummarizationReducer(llm, 1), TokenBudgetReducer(100)]).reduce(messages)

    assert texts(shown) == ["new"]


async def test_a_budget_counts_a_summary_that_was_just_made() -> None:
    talk, llm = Talk(), ScriptedLLM(["word " * 50])
    messages = [talk.user("one"), talk.user("two"), talk.user("word " * 20), talk.user("three")]

    shown = await ReducerChain([SummarizationReducer(llm, 2), TokenBudgetReducer(100)]).reduce(messages)

    assert texts(shown)[1:] == ["three"]


async def test_what_it_costs_is_told_even_if_it_says_nothing() -> None:
    usage = Usage(input_tokens=10, output_tokens=5, model_calls=1)
    llm = ScriptedLLM([Finished(text="", model="m", usage=usage)])

    with spending() as spent:
        await SummarizationReducer(llm, 2).reduce(Talk().turns(4))

    assert spent == [usage]


async def test_the_prompt_can_be_ones_own() -> None:
    llm = ScriptedLLM(["they spoke"])

    await SummarizationReducer(llm, 2, prompt="In one word.").reduce(Talk().turns(4))

    assert llm.prompts[0][0] == {"role": "system", "content": "In one word."}


async def test_a_model_by_its_name_is_opened_when_it_is_needed_and_closed_by_whoever_opened_it() -> None:
    reducer = ReducerChain([SummarizationReducer("scripted:text=they spoke", 2)])

    shown = await reducer.reduce(Talk().turns(2))
    await reducer.close()
    await reducer.close()

    assert shown[0].text == f"{HEADING}\nthey spoke"


async def test_a_model_by_its_name_can_be_opened_by_others() -> None:
    class Opening:
        def __init__(self) -> None:
            self.wanted: list[ModelNames] = []

        def get(self, wanted: ModelNames) -> LLM:
            self.wanted.append(wanted)
            return ScriptedLLM(["they spoke"])

    opening = Opening()

    shown = await SummarizationReducer("openai:a, openai:b", 2, models=opening).reduce(Talk().turns(2))

    assert len(shown) == 3
    assert opening.wanted == [("openai:a", "openai:b")]


async def test_models_that_were_lent_are_not_closed() -> None:
    models = Models("scripted:echo")
    reducer = SummarizationReducer("scripted:text=they spoke", 2, models=models)
    await reducer.reduce(Talk().turns(2))
    before = models.get("scripted:text=they spoke")

    await reducer.close()

    assert models.get("scripted:text=they spoke") is before
    await models.close()


async def test_a_summary_goes_through_json_and_back() -> None:
    shown = await SummarizationReducer(ScriptedLLM(["they spoke"]), 2).reduce(Talk().turns(2))

    assert [Message.from_dict(message.to_dict()) for message in shown] == shown
    assert shown[0].flags == Flag.NONE


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SummarizationReducer("scripted:echo", 0), "target is a whole number, 1 or more"),
        (lambda: SummarizationReducer("scripted:echo", 1, -1), "threshold is a whole number, 0 or more"),
        (lambda: SummarizationReducer("scripted:echo", 1, prompt=" "), "prompt says how to sum up"),
        (
            lambda: SummarizationReducer("scripted:echo", 1, on_error="ignore"),  # type: ignore[arg-type]  # wrong
            "on_error is",
        ),
    ],
)
def test_wrong_arguments_are_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        make()


def test_a_model_that_nobody_has_is_refused_at_once() -> None:
    with pytest.raises(UnknownModel):
        SummarizationReducer("nobody:model", 4)
