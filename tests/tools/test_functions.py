"""Functions as tools: what a model is told of them, and how they are called."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from tertulia import ToolContext, ToolError, tool
from tertulia.errors import InvalidInput, NotFound
from tertulia.testing.tool_contract import a_context


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Place:
    x: int
    y: int = 0


class Tree(BaseModel):
    name: str
    branches: list["Tree"] = []


@tool
async def paint(
    color: Color,
    at: Place,
    schema: Annotated[int, Field(ge=1, description="How thick.")],
    how: Literal["wet", "dry"] = "wet",
    note: str | None = None,
    *,
    context: ToolContext,
) -> str:
    """Paint a dot.

    It dries by itself.

    Args:
        color: What it looks like.
        at: Where it is.
        schema: This is not told, since the annotation says it.
    """
    return f"{color} {at} {schema} {how} {note} {context.key}"


async def used(made: Any, **arguments: object) -> str:
    return str(await made.use(arguments, a_context("key_1")))


def test_a_model_is_told_what_the_docstring_says() -> None:
    properties = paint.spec.parameters["properties"]

    assert paint.spec.name == "paint"
    assert paint.spec.description == "Paint a dot.\n\nIt dries by itself."
    assert properties["color"]["description"] == "What it looks like."
    assert properties["at"]["description"] == "Where it is."
    assert properties["schema"]["description"] == "How thick."


def test_a_model_is_told_what_the_annotations_say() -> None:
    parameters = paint.spec.parameters

    assert parameters["required"] == ["color", "at", "schema"]
    assert parameters["properties"]["schema"]["minimum"] == 1
    assert parameters["properties"]["how"] == {"type": "string", "enum": ["wet", "dry"], "default": "wet"}
    assert parameters["$defs"]["Color"]["enum"] == ["red", "blue"]
    assert parameters["additionalProperties"] is False
    assert "context" not in parameters["properties"]
    assert "title" not in str(parameters)


@pytest.mark.parametrize(
    "docstring",
    [
        "Do it.\n\n:param thing: The thing.\n",
        "Do it.\n\nParameters\n----------\nthing : str\n    The thing.\n",
        "Do it.\n\nArgs:\n    thing (str): The thing.\n",
    ],
)
def test_docstrings_of_every_usual_style_are_understood(docstring: str) -> None:
    def do(thing: str) -> str:
        return thing

    do.__doc__ = docstring
    made = tool(do)

    assert made.spec.description == "Do it."
    assert made.spec.parameters["properties"]["thing"]["description"] == "The thing."


def test_a_function_without_words_is_a_tool_too() -> None:
    @tool
    def ping() -> str:
        return "pong"

    assert ping.spec.description == ""
    assert ping.spec.parameters["properties"] == {}
    assert "required" not in ping.spec.parameters


async def test_arguments_come_as_the_annotated_types() -> None:
    answer = await used(paint, color="red", at={"x": 1}, schema=3)

    assert answer == "Color.RED Place(x=1, y=0) 3 wet None key_1"


async def test_a_value_that_the_schema_cannot_tell_is_told_without_being_quoted() -> None:
    @tool
    async def wait_until(day: date) -> str:
        return day.isoformat()

    with pytest.raises(ToolError, match=r"at \$\.day") as raised:
        await used(wait_until, day="the day of the secret")

    assert "secret" not in str(raised.value)
    assert await used(wait_until, day="2026-02-03") == "2026-02-03"


async def test_a_model_inside_a_model_is_made() -> None:
    @tool
    async def count(tree: Tree) -> int:
        return 1 + len(tree.branches)

    assert await used(count, tree={"name": "a", "branches": [{"name": "b"}]}) == "2"


async def test_what_was_left_out_is_the_functions_own_default() -> None:
    box = ["mine"]

    @tool
    async def look(into: list[str] = box) -> bool:
        return into is box

    assert await used(look) == "true"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        (None, "null"),
        ({"a": [1, 2.5, True]}, '{"a":[1,2.5,true]}'),
        ([Place(x=1), Color.RED, date(2026, 1, 2)], '[{"x":1,"y":0},"red","2026-01-02"]'),
        (Tree(name="oak"), '{"name":"oak","branches":[]}'),
        (float("nan"), "null"),
    ],
)
async def test_what_is_returned_becomes_text(value: object, text: str) -> None:
    @tool
    async def give() -> object:
        return value

    assert await used(give) == text


async def test_what_json_cannot_say_is_an_error() -> None:
    around: list[object] = []
    around.append(around)

    @tool
    async def give(what: str) -> object:
        return object() if what == "object" else around

    for what in ("object", "circle"):
        with pytest.raises(ToolError, match="JSON cannot say"):
            await used(give, what=what)


async def test_a_function_that_is_not_async_keeps_nobody_waiting() -> None:
    asked, answered = threading.Event(), threading.Event()

    @tool
    def block() -> str:
        asked.set()
        answered.wait(10)
        return threading.current_thread().name

    task = asyncio.create_task(used(block))
    await asyncio.to_thread(asked.wait, 10)
    answered.set()

    assert await task != threading.main_thread().name


async def test_a_thread_knows_the_context_of_its_caller() -> None:
    who: ContextVar[str] = ContextVar("who")
    who.set("Zoë")

    @tool
    def ask() -> str:
        return who.get()

    assert await used(ask) == "Zoë"


async def test_a_function_that_returns_something_to_wait_for_is_waited_for() -> None:
    async def later() -> str:
        return "later"

    @tool
    def start() -> object:
        return later()

    assert await used(start) == "later"


@pytest.mark.parametrize("error", [LookupError("4711"), SystemExit("4711"), TimeoutError("4711")])
@pytest.mark.parametrize("is_async", [True, False])
async def test_an_error_of_somebody_else_is_told_by_its_type_alone(
    error: BaseException, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def waiting(number: str) -> str:
        raise error

    def plain(number: str) -> str:
        raise error

    made = tool(waiting if is_async else plain)

    with pytest.raises(ToolError) as raised:
        await used(made, number="4711")

    assert "4711" not in str(raised.value)
    assert "4711" not in caplog.text
    assert f"tool {made.spec.name} failed" in caplog.text
    assert "test_functions.py" in caplog.text


async def test_an_error_that_python_takes_for_the_end_of_something_is_one_too() -> None:
    @tool
    def stop() -> str:
        raise StopIteration

    with pytest.raises(ToolError):
        await used(stop)


async def test_errors_of_ours_are_told_as_they_are() -> None:
    @tool
    async def fetch(what: str) -> str:
        raise ToolError("sold out") if what == "milk" else NotFound("there is no cow")

    for what, text in (("milk", "sold out"), ("cow", "there is no cow")):
        with pytest.raises(ToolError, match=text):
            await used(fetch, what=what)


def test_a_tool_can_still_be_called() -> None:
    @tool(name="plus-one", is_idempotent=True, on_unknown="retry", needs_approval=True, max_output=9)
    def add(number: int, more: int = 1) -> int:
        """Add."""
        return number + more

    assert add(1) == 2
    assert add(1, more=2) == 3
    assert add.__doc__ == "Add."
    assert add.spec.name == "plus-one"
    assert add.rules.is_idempotent
    assert add.rules.on_unknown == "retry"
    assert add.rules.needs_approval
    assert add.rules.max_output == 9


async def test_a_bound_method_becomes_a_tool() -> None:
    class Counter:
        def __init__(self) -> None:
            self.count = 0

        def up(self, by: int = 1) -> int:
            """Count."""
            self.count += by
            return self.count

    counter = Counter()
    up = tool(counter.up)

    assert await used(up, by=2) == "2"
    assert counter.count == 2
    assert set(up.spec.parameters["properties"]) == {"by"}


def takes_many(*numbers: int) -> int:
    return len(numbers)


def takes_named(**numbers: int) -> int:
    return len(numbers)


def takes_in_order(first: int, /) -> int:
    return first


def takes_anything(first) -> int:  # type: ignore[no-untyped-def]
    return int(first)


def takes_a_lock(lock: threading.Event) -> bool:
    return lock.is_set()


def takes_a_function(call: Callable[[], int]) -> int:
    return call()


def takes_what_is_not_there(thing: "Unheard") -> int:  # type: ignore[name-defined]  # noqa: F821
    return int(thing)


def takes_two_contexts(one: ToolContext, other: ToolContext) -> bool:
    return one == other


async def gives_in_turn() -> AsyncIterator[int]:
    yield 1


class Thing:
    def method(self, text: str) -> str:
        return text


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (takes_many, r"takes \*numbers"),
        (takes_named, r"takes \*\*numbers"),
        (takes_in_order, "a model names every argument"),
        (takes_anything, "'first' of the tool 'takes_anything' has no type"),
        (takes_a_lock, "a type that JSON cannot say"),
        (takes_a_function, "a type that JSON cannot say"),
        (takes_what_is_not_there, "'Unheard', which its module does not define"),
        (takes_two_contexts, "two parameters for its context"),
        (gives_in_turn, "not yield"),
        (Thing.method, r"tool\(thing\.method\)"),
        (Thing, "made of a function"),
        (lambda: 1, "<lambda>"),
    ],
)
def test_a_function_that_no_model_could_call_is_refused_with_the_reason(
    function: Callable[..., object], why: str
) -> None:
    with pytest.raises(InvalidInput, match=why):
        tool(function)


@pytest.mark.parametrize(
    "rules", [{"within_seconds": 0}, {"max_output": 0}, {"on_unknown": "perhaps"}, {"name": "two words"}]
)
def test_rules_that_cannot_be_kept_are_refused(rules: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        tool(**rules)(Thing().method)
