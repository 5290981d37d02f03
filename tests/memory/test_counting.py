"""Counting tokens as models do."""

import pytest

from tertulia.memory.counting import ESTIMATED, counter, message_tokens
from tertulia.memory.tokens import IMAGE_TOKENS, MESSAGE_TOKENS, estimate, tokens_of
from tertulia.messages import Message
from tertulia.parts import Media, Reasoning, Text, ToolCall, ToolResult


@pytest.mark.parametrize(
    ("model", "vocabulary"),
    [
        ("openai:gpt-4o-mini", "o200k_base"),
        ("openai:gpt-4.1", "o200k_base"),
        ("openai-chat:gpt-5-mini-2025-08-07", "o200k_base"),
        ("gpt-5.2", "o200k_base"),
        ("openai:o3-mini", "o200k_base"),
        ("openrouter:openai/o1", "o200k_base"),
        ("openai:chatgpt-4o-latest", "o200k_base"),
        ("ollama:gpt-oss", "o200k_base"),
        ("openai:gpt-4", "cl100k_base"),
        ("openai:gpt-4-turbo", "cl100k_base"),
        ("azure:gpt-35-turbo", "cl100k_base"),
        ("openai:gpt-3.5-turbo-0125", "cl100k_base"),
        ("openai:text-embedding-3-small", "cl100k_base"),
        ("anthropic:claude-opus-4-5", "estimate"),
        ("google:gemini-3-pro", "estimate"),
        ("mistral:open-mistral-7b", "estimate"),
        ("scripted:echo", "estimate"),
        ("local", "estimate"),
        (None, "estimate"),
    ],
)
def test_a_model_is_known_by_its_name(model: str | None, vocabulary: str) -> None:
    assert counter(model).vocabulary == vocabulary


def test_known_texts_have_the_tokens_that_their_models_count() -> None:
    new, old = counter("openai:gpt-5"), counter("openai:gpt-4")

    assert (new("hello world"), old("hello world")) == (2, 2)
    assert (new("Привет, мир"), old("Привет, мир")) == (4, 6)
    assert new("") == old("") == 0


def test_text_that_looks_like_a_mark_of_the_model_is_text() -> None:
    assert counter("openai:gpt-5")("<|endoftext|>") > 1


def test_half_of_a_surrogate_pair_is_no_failure() -> None:
    assert counter("openai:gpt-5")("a\ud83db") > 0


def test_what_is_not_known_is_estimated() -> None:
    assert counter("anthropic:claude-opus-4-5")("hello world") == estimate("hello world")


def test_a_message_counts_with_its_calls_and_results_and_without_its_thoughts() -> None:
    exact = counter("openai:gpt-5")
    content = (
        Reasoning(text="Hm. " * 100),
        Text(text="hello world"),
        ToolCall(id="x", name="search", arguments='{"q": 1}'),
        ToolResult(call_id="x", name="search", text="hello world"),
        Media(kind="image", base64="AAAA"),
    )
    message = Message(id="m", role="assistant", content=content)

    expected = 2 + (exact("search") + exact('{"q": 1}') + MESSAGE_TOKENS) + 2 + IMAGE_TOKENS
    assert message_tokens(message, exact) == MESSAGE_TOKENS + expected
    assert message_tokens(message) == message_tokens(message, ESTIMATED) == tokens_of(content)


def test_of_a_long_result_its_beginning_counts() -> None:
    exact = counter("openai:gpt-5")
    long = Message(id="m", role="tool", content=(ToolResult(call_id="x", name="s", text="word " * 10_000),))

    assert message_tokens(long, exact) < 1000


def test_a_recording_counts_by_its_length() -> None:
    exact = counter("openai:gpt-5")
    message = Message(id="m", role="user", content=(Media(kind="audio", base64="A" * 10_000),))

    assert message_tokens(message, exact) == MESSAGE_TOKENS + IMAGE_TOKENS + 100
