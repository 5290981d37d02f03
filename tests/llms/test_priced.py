"""Answers that tell what they have cost."""

from collections.abc import AsyncGenerator

import pytest
from typing_extensions import override

from tertulia.errors import ModelBusy
from tertulia.llms.base import LLM, Finished, LLMEvent, Prompt
from tertulia.llms.models import Models
from tertulia.llms.options import LLMOptions
from tertulia.llms.priced import Priced
from tertulia.llms.prices import Prices
from tertulia.llms.rates import Price, Rates
from tertulia.llms.scripted import ScriptedLLM
from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.llm_contract import LLMContract, a_prompt, heard
from tertulia.usage import Usage


class Answering(ScriptedLLM):
    """Answers as a model of this name, having used so much."""

    def __init__(self, name: str, usage: Usage, *, answered_by: str = "") -> None:
        super().__init__([], name=name)
        self._usage, self._answered_by = usage, answered_by or name.partition(":")[2]

    @override
    async def stream(self, prompt: Prompt) -> AsyncGenerator[LLMEvent, None]:
        yield Finished(text="", model=self._answered_by, usage=self._usage)


class Counting(Prices):
    """Counts how often a price is looked up."""

    lookups = 0

    @override
    async def find(self, provider: str, models: tuple[str, ...], *, address: str = "") -> Price | None:
        self.lookups += 1
        return await super().find(provider, models, address=address)


OWN = {"acme:big": Rates(input=1_000_000, output=2_000_000)}


async def usage_of(llm: LLM) -> Usage:
    whole = (await heard(llm, a_prompt()))[-1]
    assert isinstance(whole, Finished)
    return whole.usage


class TestPricedContract(LLMContract):
    @pytest.fixture
    def llm(self) -> LLM:
        return Priced(ScriptedLLM(["Hello, how are you?"] * 10, chunk=4), Prices())

    @pytest.fixture
    def failing(self) -> LLM:
        return Priced(ScriptedLLM([ModelBusy()] * 4), Prices())


async def test_an_answer_tells_its_cost() -> None:
    llm = Priced(Answering("acme:big", Usage(input_tokens=2, output_tokens=3, model_calls=1)), Prices(OWN))

    usage = await usage_of(llm)

    assert usage == Usage(input_tokens=2, output_tokens=3, model_calls=1, cost=8.0)


async def test_an_answer_without_a_price_says_so() -> None:
    llm = Priced(Answering("acme:small", Usage(input_tokens=2, model_calls=1)), Prices(OWN))

    assert (await usage_of(llm)).unpriced_calls == 1


async def test_an_answer_whose_tokens_nobody_counted_has_no_price() -> None:
    llm = Priced(Answering("acme:big", Usage(model_calls=1)), Prices(OWN))

    assert (await usage_of(llm)).unpriced_calls == 1


async def test_a_cost_that_the_plug_tells_is_believed() -> None:
    told = Usage(input_tokens=2, model_calls=1, cost=0.5)

    assert await usage_of(Priced(Answering("acme:big", told), Prices(OWN))) == told


async def test_the_model_that_answered_goes_before_the_one_that_was_asked() -> None:
    prices = Prices(OWN | {"acme:latest": Rates(input=5_000_000, output=0)})
    llm = Priced(Answering("acme:latest", Usage(input_tokens=1, model_calls=1), answered_by="big"), prices)

    assert (await usage_of(llm)).cost == 1


async def test_a_price_is_looked_up_once() -> None:
    prices = Counting(OWN)
    llm = Priced(Answering("acme:big", Usage(input_tokens=1, model_calls=1)), prices)

    for _ in range(3):
        await usage_of(llm)

    assert prices.lookups == 1


async def test_an_opened_model_tells_its_cost_by_what_stands_at_its_address() -> None:
    async with FakeOpenAI() as fake:
        for model, has_price in (("llama-3.3-70b-versatile", True), ("gpt-x", False)):
            llm = Models(f"openai-chat:{model}", options=LLMOptions(base_url=fake.base_url)).get(None)

            usage = await usage_of(llm)

            assert (usage.cost > 0, usage.unpriced_calls) == (has_price, not has_price)
            await llm.close()
