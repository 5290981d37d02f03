"""The page about the library: its examples are carried out, its tables are true."""

import ast
import codeop
import inspect
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, get_args

import pytest

from tertulia import Agent, AgentRunFinished, Reply, Session, errors
from tertulia.agent.options import RunKeywords
from tertulia.errors import ModelRefused
from tertulia.events import Event, RunFinished
from tertulia.parts import ToolCall
from tertulia.testing.fake_openai import FakeOpenAI
from tests.docs.following import ROOT, SECONDS
from tests.docs.trying import blocks, carry_out_all

PAGE: Final = "docs/library.md"
TEXT: Final = (ROOT / PAGE).read_text(encoding="utf-8")


def section(title: str) -> str:
    """Return what stands under a heading, up to the next one of its kind."""
    return re.split(r"^## ", TEXT.partition(f"\n## {title}\n")[2], maxsplit=1, flags=re.M)[0]


def first_cells(text: str) -> list[str]:
    """Return the names in the first cells of a table's rows."""
    rows = re.findall(r"^\| (`.*?`) \|", text, re.M)
    return [name for row in rows for name in re.findall(r"`(\w+)`", row)]


@pytest.fixture
async def model(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeOpenAI]:
    """A server that speaks as OpenAI's does, and is the one of the environment."""
    async with FakeOpenAI() as fake:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-a-test")
        monkeypatch.setenv("OPENAI_BASE_URL", fake.base_url)
        yield fake


def newest(request: dict[str, Any]) -> str:
    """Return what a model was told last."""
    content = request["input"][-1].get("content", "")
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def answers() -> Callable[[dict[str, Any]], object]:
    """Return a model for the page: it uses tools, meets the shape, and once it will not."""
    refusals = iter([ModelRefused("not at night")])

    def answer(request: dict[str, Any]) -> object:
        said = newest(request)
        if "How is the tide" in said:
            return ToolCall(id="call_1", name="tide", arguments='{"hour": 15}')
        if "Book the Gaviota" in said:
            return ToolCall(id="call_2", name="book", arguments='{"boat": "Gaviota", "people": 4}')
        if said == "And at night?":
            return next(refusals, "At the lighthouse.")
        if request.get("text"):
            return {"name": "The aquarium", "minutes": 90}
        return f"An answer to: {said}" if said else "The tool has done its work."

    return answer


async def test_every_example_works(
    model: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model.script([answers()] * 100)  # type: ignore[list-item]  # what it returns can be said
    model.fault("stall", match="everything about the harbour", tokens=1)
    model.fault("hang", match="a very long story")

    made = await carry_out_all(PAGE)

    try:
        assert made["reply"].text == "Then the tower."
        assert [each.role for each in await made["trip"].messages()] == [
            "user",
            "assistant",
            "tool",
            "assistant",
        ] * 2
        assert (tmp_path / "shop.db").exists()
    finally:
        for each in made.values():
            if isinstance(each, Agent):
                await each.close()


def test_every_parameter_of_an_agent_is_documented_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(.*?)` \|", section("An agent"), re.M)

    parameters = [each for each in inspect.signature(Agent).parameters.values()]
    assert rows == [(each.name, repr(each.default).replace("'", '"')) for each in parameters]


def test_every_keyword_of_a_run_and_every_field_of_a_reply_is_documented() -> None:
    told = first_cells(section("A run"))

    reply = [each.name for each in fields(Reply)]
    assert sorted(told) == sorted([*reply, "cost", *RunKeywords.__annotations__])


def test_every_event_is_documented() -> None:
    told = first_cells(section("Hear it while it is spoken"))

    kinds = {*get_args(Event), AgentRunFinished} - {RunFinished}
    assert sorted(told) == sorted(kind.__name__ for kind in kinds)


def test_every_error_that_is_named_exists() -> None:
    told = first_cells(section("When something goes wrong"))

    assert len(told) > 15
    assert [name for name in told if not issubclass(getattr(errors, name), errors.TertuliaError)] == []


def test_every_method_of_a_session_is_shown() -> None:
    public = [name for name, each in vars(Session).items() if callable(each) and not name.startswith("_")]

    told = [name for name in public if f"{name}(" in TEXT]
    assert sorted({*told, "events"}) == sorted(public)  # what an agent asks it for is no user's affair


def test_every_method_of_an_agent_is_shown() -> None:
    public = [name for name, each in vars(Agent).items() if callable(getattr(Agent, name)) and name[0] != "_"]

    # A session that was there before is restored; what another one does for that is no user's affair.
    assert [name for name in public if f"{name}(" not in TEXT and f"`{name}`" not in TEXT] == ["session_of"]


def test_every_error_that_a_program_meets_has_its_row() -> None:
    told = {getattr(errors, name) for name in first_cells(section("When something goes wrong"))}
    others = {
        "Conflict, ModelError, RunFailed, StoreError": "families, of which the leaves have their rows",
        "AnswerGone, LeaseLost, StopRequested, RunGivenUp": "what an engine tells itself",
        "ConversationMovedOn, DuplicateName, VersionMoved": "what only servers and stores are asked for",
        "NotServedHere, Stopping": "what only servers say",
        "ToolError, ToolUnavailable": "what tools raise",
        "ModelMalformed, TertuliaError": "of the last resort",
    }

    leaves = {each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, Exception)}
    left = {each.__name__ for each in leaves - told if not set(each.__mro__[1:]) & told}
    assert left == {name for names in others for name in names.split(", ")}


def test_every_example_can_be_pasted_into_a_shell() -> None:
    for block in blocks(PAGE):
        if block.language != "python":
            continue
        shell, typed = codeop.CommandCompiler(), [""]
        shell.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        for line in [*block.text.splitlines(), ""]:
            typed.append(line)
            try:
                is_whole = shell("\n".join(typed[1:]), symbol="single") is not None
            except SyntaxError as error:
                raise AssertionError(f"{PAGE}, line {block.line}: {line}") from error
            typed = [""] if is_whole else typed
        assert typed == [""], f"{PAGE}, line {block.line} does not end"


def test_the_program_of_the_readme_works(tmp_path: Path, environment: dict[str, str]) -> None:
    (program,) = [block.text for block in blocks("README.md") if "asyncio.run(main())" in block.text]

    for _ in range(2):
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert (ran.stdout, ran.stderr) == ("Paella\n", "")
    assert (tmp_path / "meals.db").exists()


LINKED: Final = (
    "README.md",
    "docs/index.md",
    PAGE,
    *(f"docs/{n}.md" for n in ("tutorial", "history", "reducers", "context")),
)


@pytest.mark.parametrize("page", LINKED)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")

    for target, _, place in (link.partition("#") for link in re.findall(r"\]\(([^)]+)\)", text)):
        if target.startswith("http"):
            continue
        found = (ROOT / page).parent / target if target else ROOT / page
        assert found.exists(), target
        headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.M) if place else []
        slugs = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings]
        assert not place or place in slugs, f"{target}#{place}"
