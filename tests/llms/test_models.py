"""The models of an installation: one by one, and in chains."""

import pytest

from tertulia.errors import UnknownModel
from tertulia.llms.base import Finished
from tertulia.llms.fallback import Fallback
from tertulia.llms.models import Models
from tertulia.llms.naming import split_chain
from tertulia.llms.options import LLMOptions
from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.llm_contract import a_prompt, heard


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("local", ("local",)),
        ("openai-chat:a, openai-chat:b,local", ("openai-chat:a", "openai-chat:b", "local")),
        ("openai-chat:a,misspelt:b", ("openai-chat:a", "misspelt:b")),
        ("scripted:text=Well, yes", ("scripted:text=Well, yes",)),
        ("scripted:text=Well, local", ("scripted:text=Well", "local")),
    ],
)
def test_a_list_of_models_has_commas_between_them(text: str, names: tuple[str, ...]) -> None:
    assert split_chain(text) == names


async def test_each_model_and_each_chain_is_opened_once() -> None:
    models = Models("scripted:echo, local")

    assert models.get(None) is models.get(None)
    assert models.get(("local", "scripted:echo")) is models.get(("local", "scripted:echo"))
    assert models.get("local") is not models.get(None)
    assert isinstance(models.get(None), Fallback)
    assert not isinstance(models.get(("local",)), Fallback)
    await models.close()


async def test_an_agents_chain_is_asked_in_its_order() -> None:
    async with FakeOpenAI() as fake:
        fake.fault("500", times=None)
        models = Models("local", options=LLMOptions(base_url=fake.base_url, attempts=1))
        llm = models.get(("openai-chat:gpt-x", "scripted:text=I stand in"))

        whole = (await heard(llm, a_prompt()))[-1]

        assert isinstance(whole, Finished)
        assert (whole.text, llm.name, fake.calls) == ("I stand in", "openai-chat:gpt-x", 1)
        await models.close()


async def test_nobody_waits_for_a_busy_model_behind_which_another_stands() -> None:
    async with FakeOpenAI() as fake:
        fake.fault("429", times=None, retry_after=30)
        models = Models("openai-chat:gpt-x, scripted:echo", options=LLMOptions(base_url=fake.base_url))

        whole = (await heard(models.get(None), a_prompt("Here?")))[-1]

        assert isinstance(whole, Finished)
        assert (whole.text, fake.calls) == ("Here?", 1)
        await models.close()


@pytest.mark.parametrize("names", ["nobody:x", ("local", "nobody:x"), ("local", "local:x"), ""])
def test_what_cannot_be_a_model_is_unknown(names: str | tuple[str, ...]) -> None:
    with pytest.raises(UnknownModel):
        Models("local").check(names)


def test_of_the_default_only_the_providers_are_looked_at() -> None:
    Models("local, openai-chat:").check(None)
    with pytest.raises(UnknownModel):
        Models("local, nobody:x").check(None)
