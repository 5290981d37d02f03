"""Models by name."""

from pathlib import Path

import pytest

from tertulia.errors import UnknownModel
from tertulia.llms import LLMS, LLMOptions
from tertulia.llms.base import Finished
from tertulia.llms.naming import bare_llm, open_chain, split_name
from tertulia.llms.options import ModelName
from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.llm_contract import a_prompt, heard


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("local", ("local", "")),
        ("scripted:text=a:b", ("scripted", "text=a:b")),
        (" openai-chat:org/model:free ", ("openai-chat", "org/model:free")),
    ],
)
def test_name_is_provider_and_model(name: str, parts: tuple[str, str]) -> None:
    assert split_name(name) == ModelName(*parts)


@pytest.mark.parametrize("name", ["", "gpt-5-mini", "nobody:gpt", ":gpt", "LOCAL"])
def test_unknown_provider_is_told_which_there_are(name: str) -> None:
    with pytest.raises(UnknownModel, match=f"the providers are: {', '.join(sorted(LLMS))}$"):
        bare_llm(name)


@pytest.mark.parametrize("name", ["local:gpt", "openai-chat", "openai-completions:", "scripted:"])
def test_name_that_no_model_of_the_provider_has_is_unknown(name: str) -> None:
    with pytest.raises(UnknownModel):
        bare_llm(name)


@pytest.mark.parametrize("name", ["local", "openai-chat:gpt-x", "openai-completions:base", "scripted:echo"])
def test_model_goes_by_the_name_that_it_was_opened_with(name: str, tmp_path: Path) -> None:
    options = LLMOptions(runtime_dir=tmp_path)

    assert open_chain([bare_llm(name, options=options)], options=options).name == name
    assert isinstance(bare_llm(name, options=options), LLMS.get(split_name(name).provider))


async def test_opened_model_is_asked_again_when_it_fails() -> None:
    async with FakeOpenAI() as fake:
        fake.fault("429", retry_after=0)
        fake.fault("close")
        options = LLMOptions(base_url=fake.base_url, first_token_seconds=30)
        llm = open_chain([bare_llm("openai-chat:gpt-x", options=options)], options=options)

        events = await heard(llm, a_prompt())

        assert isinstance(events[-1], Finished)
        assert fake.calls == 3
        await llm.close()


def test_key_does_not_show_in_options() -> None:
    assert "sk-secret" not in repr(LLMOptions(api_key="sk-secret"))
