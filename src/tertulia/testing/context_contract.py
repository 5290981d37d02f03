"""What every context provider does.

::

    class TestMyProvider(LearningContract):
        @pytest.fixture
        def provider(self):
            return MyProvider()

        @pytest.fixture
        def lesson(self):
            return Lesson(said="My name is Ana.", word="Ana")
"""

import asyncio
from collections.abc import AsyncIterator
from copy import deepcopy
from dataclasses import dataclass, field, replace

import orjson
import pytest
from typing_extensions import override

from tertulia.errors import ModelRefused, VersionMoved
from tertulia.ids import CONVERSATION, MESSAGE, RUN, new_id
from tertulia.memory.context.asking import Company, RunFacts
from tertulia.memory.context.base import ContextProvider, RunContext
from tertulia.memory.sessions import Outcome, ProviderRun, ProviderSession
from tertulia.memory.states import States
from tertulia.messages import Message, Role
from tertulia.parts import text_content
from tertulia.stores.base import KeptState, StateStore
from tertulia.tools.arguments import check_spec
from tertulia.tools.functions import as_tool

QUESTION = "What do you know about me?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What a provider can learn."""

    said: str
    """By the user."""
    word: str
    """Stands in what the provider tells from then on, and did not before."""
    answered: str = "I see."
    question: str = QUESTION
    """What the user says when the provider is to tell it."""


class StatesInMemory(StateStore):
    """States as a store keeps them: copies, as JSON, each with its version."""

    def __init__(self) -> None:
        self.kept: dict[tuple[int, str, str], KeptState] = {}

    @override
    async def get(self, tenant: int, scope: str, source: str) -> KeptState | None:
        return self.kept.get((tenant, scope, source))

    @override
    async def put(
        self, tenant: int, scope: str, source: str, value: str | None, *, expected_version: int
    ) -> int:
        key = (tenant, scope, source)
        found = self.kept.get(key)
        if (found.version if found else 0) != expected_version:
            raise VersionMoved
        if value is None:
            self.kept.pop(key, None)
            return 0
        orjson.loads(value)
        self.kept[key] = KeptState(value=value, version=expected_version + 1)
        return expected_version + 1

    @override
    async def all_of(self, tenant: int, scope: str) -> dict[str, KeptState]:
        return {key[2]: kept for key, kept in self.kept.items() if key[:2] == (tenant, scope)}

    @override
    async def forget(self, tenant: int, scope: str) -> int:
        gone = [key for key in self.kept if key[:2] == (tenant, scope)]
        for key in gone:
            del self.kept[key]
        return len(gone)


@dataclass
class Visit:
    """A session of a user with an agent that has one context provider."""

    provider: ContextProvider
    states: StatesInMemory = field(default_factory=StatesInMemory)
    user: str | None = "ana"
    agent: str = "Parrot"
    tenant: int = 0
    conversation: str = field(default_factory=lambda: new_id(CONVERSATION))

    @property
    def company(self) -> Company:
        """The provider, as an agent has it."""
        return Company([self.provider], States(self.states), within_seconds=30)

    def run(self, text: str, *, run_id: str | None = None) -> RunFacts:
        """Return a run of this session that is asked something."""
        return RunFacts(
            id=run_id or new_id(RUN),
            input=a_message(text),
            conversation_id=self.conversation,
            shown_id=self.conversation,
            agent=self.agent,
            user=self.user,
            tenant=self.tenant,
        )

    async def told(self, text: str = QUESTION) -> str:
        """Return all that the model would be told of in a run."""
        contexts, failures = await self.company.before(self.run(text))
        assert failures == []
        return "\n".join(shown(context) for _, context in contexts)

    async def hear(self, lesson: Lesson, *, run_id: str | None = None) -> RunFacts:
        """Have a run in which something can be learned; return it."""
        run = self.run(lesson.said, run_id=run_id)
        _, failures = await self.company.before(run)
        assert failures == []
        assert await self.company.after(run, answered(run, lesson.answered)) == []
        return run

    def elsewhere(self, *, user: str | None) -> "Visit":
        """Return another session with the same agent, which has the same provider."""
        return replace(self, user=user, conversation=new_id(CONVERSATION))


def a_message(text: str, *, role: Role = "user") -> Message:
    """Return a message."""
    return Message(id=new_id(MESSAGE), role=role, content=text_content(text))


def answered(run: RunFacts, text: str) -> Outcome:
    """Return the outcome of a run that was answered."""
    return Outcome(request=(run.input,), response=(a_message(text, role="assistant"),))


def shown(context: RunContext) -> str:
    """Return all that a model is told by a context, tools included."""
    said = [each.text if isinstance(each, Message) else each for each in context.messages]
    specs = [tool.spec for tool in map(as_tool, context.tools)]
    told = [context.instructions, *said, *(f"{spec.name} {spec.description}" for spec in specs)]
    return "\n".join(filter(None, told))


@pytest.mark.asyncio
class ContextContract:
    """The laws of the port; a subclass gives the fixture ``provider``: a new one, which knows of nobody."""

    @pytest.fixture
    async def visit(self, provider: ContextProvider) -> AsyncIterator[Visit]:
        yield Visit(provider)
        await provider.close()

    async def test_its_name_stays_as_it_is(self, visit: Visit) -> None:
        before = visit.provider.name

        await visit.told()

        assert before
        assert visit.provider.name == before

    async def test_what_it_tells_can_be_shown(self, visit: Visit) -> None:
        contexts, failures = await visit.company.before(visit.run(QUESTION))

        assert failures == []
        for _, context in contexts:
            for given in context.tools:
                tool = as_tool(given)
                assert check_spec(tool.spec) == tool.spec

    async def test_being_asked_twice_is_being_asked_once(self, visit: Visit) -> None:
        first = await visit.told()
        kept = deepcopy(visit.states.kept)

        second = await visit.told()

        assert first == second
        assert visit.states.kept == kept

    async def test_being_asked_at_once_by_many_changes_nothing(self, visit: Visit) -> None:
        alone = await visit.told()

        told = await asyncio.gather(*(visit.elsewhere(user=f"user {n}").told() for n in range(5)))

        assert set(told) == {alone}

    async def test_a_session_without_a_user_is_served(self, visit: Visit) -> None:
        anonymous = visit.elsewhere(user=None)
        run = anonymous.run(QUESTION)

        contexts, _ = await anonymous.company.before(run)
        await anonymous.company.after(run, answered(run, "I see."))

        assert len(contexts) <= 1
        assert all(not scope.startswith("user:") for _, scope, _ in visit.states.kept)

    async def test_a_failed_run_is_no_failure_of_its_own(self, visit: Visit) -> None:
        run = visit.run(QUESTION)

        failures = await visit.company.after(run, Outcome(request=(run.input,), error=ModelRefused()))

        assert failures == []

    async def test_what_it_keeps_is_json(self, visit: Visit) -> None:
        session = ProviderSession(id="s", agent="Parrot", user="ana")
        run = ProviderRun(id=new_id(RUN), input=a_message(QUESTION), session=session)

        await visit.provider.before_run(run)
        await visit.provider.after_run(
            run, Outcome(request=(run.input,), response=(a_message("I see.", role="assistant"),))
        )

        assert orjson.loads(orjson.dumps([run.state, run.user_state])) == [run.state, run.user_state]

    async def test_closing_twice_is_closing_once(self, visit: Visit) -> None:
        await visit.told()

        await visit.provider.close()
        await visit.provider.close()


@pytest.mark.asyncio
class LearningContract(ContextContract):
    """The laws for a provider that learns of users; a subclass gives the fixture ``lesson`` as well."""

    async def test_what_a_user_said_is_known_in_their_next_session(
        self, visit: Visit, lesson: Lesson
    ) -> None:
        before = await visit.told(lesson.question)

        await visit.hear(lesson)

        assert lesson.word not in before
        assert lesson.word in await visit.elsewhere(user=visit.user).told(lesson.question)

    async def test_what_one_user_said_never_reaches_another(self, visit: Visit, lesson: Lesson) -> None:
        await visit.hear(lesson)

        other, nobody = visit.elsewhere(user="ben"), visit.elsewhere(user=None)

        assert lesson.word not in await other.told(lesson.question)
        assert lesson.word not in str(await nobody.company.before(nobody.run(lesson.question)))

    async def test_users_are_kept_apart_also_when_they_speak_at_once(
        self, visit: Visit, lesson: Lesson
    ) -> None:
        users = [f"user {n}" for n in range(6)]
        visits = [visit.elsewhere(user=user) for user in users]

        async def speak_or_ask(number: int) -> str:
            if number % 2:
                await visits[number].hear(lesson)
            return await visits[number].told(lesson.question)

        told = await asyncio.gather(*map(speak_or_ask, range(6)))

        assert [lesson.word in each for each in told] == [False, True] * 3

    async def test_being_told_twice_of_a_run_is_being_told_once(self, visit: Visit, lesson: Lesson) -> None:
        run = await visit.hear(lesson)
        once, kept = await visit.told(lesson.question), deepcopy(visit.states.kept)

        assert await visit.company.after(run, answered(run, lesson.answered)) == []

        assert await visit.told(lesson.question) == once
        assert visit.states.kept == kept

    async def test_nothing_is_learned_from_a_failed_run(self, visit: Visit, lesson: Lesson) -> None:
        run = visit.run(lesson.said)

        await visit.company.after(run, Outcome(request=(run.input,), error=ModelRefused()))

        assert lesson.word not in await visit.told(lesson.question)

    async def test_nothing_is_kept_on_the_provider(self, visit: Visit, lesson: Lesson) -> None:
        before = {name: repr(value) for name, value in vars(visit.provider).items()}

        await visit.hear(lesson)

        assert lesson.word not in str(vars(visit.provider))
        assert vars(visit.provider).keys() == before.keys()
