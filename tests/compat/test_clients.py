"""Which model an agent asks, and what a chat message is."""

import pytest

from tertulia.compat.agent_framework import ChatAgent, ChatMessage, ChatMessageStore, Role
from tertulia.compat.agent_framework.messages import chat_message_of, message_of
from tertulia.compat.agent_framework.openai import OpenAIChatClient, OpenAIResponsesClient
from tertulia.errors import InvalidInput
from tertulia.messages import Flag, Message
from tertulia.parts import Media, Text, ToolCall
from tertulia.testing.fake_openai import FakeOpenAI
from tests.compat.talk import listening


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_CHAT_MODEL_ID", "OPENAI_RESPONSES_MODEL_ID", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERTULIA_MODEL", "scripted:text=Paella")


async def test_model_has_the_key_and_the_address_that_it_was_given() -> None:
    async with FakeOpenAI() as fake:
        fake.script(["Hello."])
        client = OpenAIChatClient(model_id="fake", api_key="sk-1", base_url=fake.base_url)

        async with client.create_agent(name="Greeter") as agent:
            answer = await agent.run("Hi")

        assert str(answer) == "Hello."
        assert fake.requests[0]["model"] == "fake"
        assert agent.display_name == "Greeter"


async def test_responses_keep_the_thread_at_the_service() -> None:
    async with FakeOpenAI() as fake:
        fake.script(["one", "two"])
        client = OpenAIResponsesClient("fake", base_url=fake.base_url)

        async with client.create_agent(store=True) as agent:
            thread = agent.get_new_thread()
            await agent.run("1", thread=thread)
            first = thread.service_thread_id
            await agent.run("2", thread=thread)

        assert "previous_response_id" not in fake.requests[0]
        assert fake.requests[1]["previous_response_id"] == first
        assert "1" not in str(fake.requests[1]["input"])


async def test_without_a_model_that_of_the_environment_answers() -> None:
    for given in (OpenAIChatClient(), "scripted:text=Paella", OpenAIChatClient(listening())):
        agent = ChatAgent(given)

        answer = await agent.run("Hi")

        assert answer.text in ("Paella", "heard 1")
        await agent.close()


def test_key_without_a_model_is_refused() -> None:
    with pytest.raises(InvalidInput, match="OPENAI_CHAT_MODEL_ID"):
        OpenAIChatClient(api_key="sk-1")
    with pytest.raises(InvalidInput, match="which model"):
        OpenAIChatClient(listening(), base_url="http://127.0.0.1:1")


def test_message_of_ours_comes_back_as_it_was() -> None:
    whole = Message(
        id="msg_1",
        role="assistant",
        content=(Text(text="See"), Media(kind="image", url="https://a.example/b.png"), CALL),
        author="Guide",
        run_id="run_1",
        turn=1,
        flags=Flag.INCOMPLETE,
        created_at=5,
    )

    assert message_of(ChatMessage.from_dict(chat_message_of(whole).to_dict())) == whole


CALL = ToolCall(id="c1", name="now", arguments="{}")


def test_roles_are_texts() -> None:
    message = ChatMessage("user", text="Hi")

    assert message.role is Role.USER
    assert [message.role] == ["user"]
    assert message.role.value == str(message.role) == "user"
    assert message == ChatMessage(Role.USER, ["Hi"]) != ChatMessage(Role.SYSTEM, ["Hi"])
    assert str(message) == "Hi"


@pytest.mark.parametrize(
    "kept", [{}, {"role": 7}, {"role": "user", "contents": "no list"}, {"role": "narrator"}]
)
def test_what_is_no_message_is_refused(kept: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        ChatMessage.from_dict(kept)


def test_factory_of_stores_is_a_function() -> None:
    with pytest.raises(InvalidInput, match="give a function"):
        ChatAgent(listening(), chat_message_store_factory=ChatMessageStore())  # type: ignore[arg-type]
