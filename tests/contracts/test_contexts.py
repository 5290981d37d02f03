"""Every context provider of ours against the contract."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typing_extensions import override

from tertulia.memory.context.base import ContextProvider, RunContext
from tertulia.memory.context.database import DatabaseProvider
from tertulia.memory.context.knowledge import KnowledgeProvider
from tertulia.memory.context.mem0 import Mem0ContextProvider
from tertulia.memory.context.user_facts import UserFacts
from tertulia.memory.sessions import Outcome, ProviderRun
from tertulia.testing.context_contract import ContextContract, LearningContract, Lesson
from tests.memory.context.fake_mem0 import KEY, running


class Preferences(ContextProvider):
    """As a newcomer would write one."""

    @override
    async def before_run(self, run: ProviderRun) -> RunContext | None:
        liked = run.user_state.get("liked")
        return RunContext(messages=[f"The user likes {liked}."]) if liked else None

    @override
    async def after_run(self, run: ProviderRun, outcome: Outcome) -> None:
        if outcome.error is None and "I like " in run.input.text:
            run.user_state["liked"] = run.input.text.partition("I like ")[2].rstrip(".")


@pytest.fixture
def lesson() -> Lesson:
    return Lesson(said="I like green tea.", word="green tea", question="What do I like?")


class TestPreferences(LearningContract):
    @pytest.fixture
    def provider(self) -> ContextProvider:
        return Preferences()


class TestUserFacts(LearningContract):
    @pytest.fixture
    def provider(self) -> ContextProvider:
        return UserFacts()


class TestMem0(LearningContract):
    @pytest.fixture
    async def provider(self) -> AsyncIterator[ContextProvider]:
        async with running() as fake:
            yield Mem0ContextProvider(api_key=KEY, base_url=fake.base_url)


class TestDatabase(ContextContract):
    @pytest.fixture
    def provider(self, tmp_path: Path) -> ContextProvider:
        path = tmp_path / "shop.db"
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, total REAL)")
        connection.close()
        return DatabaseProvider(f"sqlite:///{path}", tables=["orders"])


class TestKnowledge(ContextContract):
    @pytest.fixture
    async def provider(self) -> ContextProvider:
        handbook = KnowledgeProvider("handbook")
        await handbook.add("What we know about you: your holidays begin in May.", name="you.txt")
        return handbook


class TestNothing(ContextContract):
    @pytest.fixture
    def provider(self) -> ContextProvider:
        class Nothing(ContextProvider):
            pass

        return Nothing()
