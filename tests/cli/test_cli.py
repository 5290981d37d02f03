"""The command line answers quickly, and says in one line what is wrong."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from anyio.lowlevel import checkpoint
from rich.console import Console

import tertulia
from tertulia.app import App
from tertulia.cli.chat import pipe
from tertulia.cli.talk import COMPANION, Talk
from tertulia.cli.terminal import Terminal
from tertulia.conversations import NewConversation, Run, RunStatus
from tertulia.definitions import AgentDefinition
from tertulia.errors import NotFound
from tertulia.settings import Settings
from tertulia.testing.builders import a_claimed_run, a_submission

HEAVY = ("fastapi", "sqlalchemy", "pydantic", "uvicorn", "aiohttp", "asyncpg")


def run(*arguments: str, cwd: Path, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Run the program in a directory of its own."""
    usual = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(tertulia.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, "-m", "tertulia", *arguments],
        cwd=cwd,
        input=stdin,
        env=usual | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture
def app(portal: BlockingPortal) -> Iterator[App]:
    async def opened() -> App:
        app = App(Settings(database_url="memory://", model="scripted:echo", shutdown_seconds=0))
        await app.start()
        return app

    app = portal.call(opened)
    yield app
    portal.call(app.stop)


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Have these lines typed, and then the end of the input."""
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def screen() -> Console:
    return Console(file=io.StringIO(), width=100, height=40, highlight=False)


def seen(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_help_and_version_import_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from tertulia.cli import app\n"
        "try: app(['--help'])\n"
        f"except SystemExit: print(*(name for name in {HEAVY} if name in sys.modules), 'end')"
    )
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(tertulia.__file__).parents[1])}

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert "serve" in done.stdout
    assert done.stdout.splitlines()[-1] == "end"
    assert run("--version", cwd=tmp_path).stdout == f"tertulia {tertulia.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "env", "told"),
    [
        (["serve"], {"TERTULIA_PORT": "many"}, "TERTULIA_PORT"),
        (["serve", "--host", "0.0.0.0"], {}, "TERTULIA_HOST"),  # noqa: S104 - what is refused
        (["serve", "--host", "nowhere.localhost.", "--port", "0"], {}, "TERTULIA_HOST"),
        (["serve", "--workers", "2"], {}, "PostgreSQL"),
        (["chat"], {"TERTULIA_DATABASE_URL": "oracle://x"}, "oracle"),
        (["chat"], {"TERTULIA_DATA_DIR": "/dev/null/here"}, "TERTULIA_DATA_DIR"),
    ],
)
def test_wrong_settings_end_it_with_one_line(
    tmp_path: Path, arguments: list[str], env: dict[str, str], told: str
) -> None:
    done = run(*arguments, cwd=tmp_path, **env)

    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_upgrading_says_the_revision(tmp_path: Path) -> None:
    done = run("db", "upgrade", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sqlite database at revision ")
    assert (tmp_path / "data" / "tertulia.db").exists()


def test_lines_from_a_pipe_are_answered_line_by_line_and_kept(tmp_path: Path) -> None:
    env = {"TERTULIA_MODEL": "scripted:echo"}

    first = run("chat", cwd=tmp_path, stdin="one\n\ntwo\n", **env)
    wrong = run("chat", "nobody", cwd=tmp_path, stdin="one\n", **env)

    assert (first.stdout, first.returncode) == ("one\ntwo\n", 0), first.stderr
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("tertulia: there is no such agent")


def test_a_pipe_writes_plain_answers(portal: BlockingPortal, app: App) -> None:
    talk, out = portal.call(Talk.resume, app, None), io.StringIO()

    pipe(portal, talk, io.StringIO("hello\n**bold**\n"), out)

    assert out.getvalue() == "hello\n**bold**\n"


def test_a_pipe_passes_nothing_on_that_a_terminal_would_obey(portal: BlockingPortal, app: App) -> None:
    talk, out = portal.call(Talk.resume, app, None), io.StringIO()

    pipe(portal, talk, io.StringIO("a\x1b]0;title\x07\u202eb\n"), out)

    assert out.getvalue() == "a\ufffd]0;title\ufffd\ufffdb\n"


def test_a_talk_is_gone_on_with(portal: BlockingPortal, app: App) -> None:
    first = portal.call(Talk.resume, app, None)
    pipe(portal, first, io.StringIO("hello\n"), io.StringIO())

    second = portal.call(Talk.resume, app, COMPANION.name)

    assert second.conversation == first.conversation
    assert [(one.asked.text, one.answer) for one in portal.call(second.history, 9)] == [("hello", "hello")]


def test_the_agent_that_is_there_is_talked_to(portal: BlockingPortal, app: App) -> None:
    portal.call(app.store.agents.create, 0, f"agent_{1:032x}", AgentDefinition(name="Chef"))

    assert portal.call(Talk.resume, app, None).agent.definition.name == "Chef"
    with pytest.raises(NotFound):
        portal.call(Talk.resume, app, "Clerk")


def test_the_conversation_that_was_spoken_in_last_is_gone_on_with(portal: BlockingPortal, app: App) -> None:
    for number, name in enumerate(("Chef", "Clerk"), 1):
        portal.call(app.store.agents.create, 0, f"agent_{number:032x}", AgentDefinition(name=name))
    chef, clerk = portal.call(Talk.resume, app, "Chef"), portal.call(Talk.resume, app, "Clerk")
    for talk in (chef, clerk):
        pipe(portal, talk, io.StringIO("first\n"), io.StringIO())
    older = chef.conversation
    chef.renew()
    pipe(portal, chef, io.StringIO("in a newer one\n"), io.StringIO())
    portal.call(
        app.store.conversations.create, 0, NewConversation(id=f"conv_{'f' * 32}", agent_id=clerk.agent.id)
    )
    chef.conversation = older
    pipe(portal, chef, io.StringIO("again in the older one\n"), io.StringIO())

    resumed = portal.call(Talk.resume, app, None)

    assert (resumed.agent.definition.name, resumed.conversation) == ("Chef", older)
    assert portal.call(Talk.resume, app, "Chef").conversation == older


def test_what_is_not_answered_yet_is_told_so(
    portal: BlockingPortal, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = portal.call(Talk.resume, app, None)
    portal.call(talk.say, "said and done")
    running = portal.call(a_run_elsewhere, app, str(talk.conversation))
    portal.call(talk.say, "waiting in line")
    typed(monkeypatch, "/history")
    console = screen()

    Terminal(portal, talk, console).converse()

    assert running.status is RunStatus.RUNNING
    assert seen(console).split("you > ")[-3:-1] == [
        "under way\n(still being answered)\n",
        "waiting in line\n(still being answered)\n",
    ]


async def a_run_elsewhere(app: App, conversation: str) -> Run:
    """Have somebody else answer a message, and take all the time in the world."""
    while True:
        there = await app.store.conversations.get(0, conversation)
        if there.head == 2:
            break
        await checkpoint()
    claim = await a_claimed_run(app.store, a_submission(there, "under way"))
    return claim.run


def test_the_terminal_greets_answers_and_leaves(
    portal: BlockingPortal, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, "hello there", "/quit", "never said")
    console = screen()

    Terminal(portal, portal.call(Talk.resume, app, None), console).converse()

    assert COMPANION.name in seen(console)
    assert "scripted:echo" in seen(console)
    assert COMPANION.first_message in seen(console)
    assert "hello there" in seen(console)
    assert "never said" not in seen(console)


def test_the_terminals_commands_do_what_they_say(
    portal: BlockingPortal, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = portal.call(Talk.resume, app, None)
    typed(monkeypatch, "hello", "/new", "goodbye", "/history", "/what")
    console = screen()

    Terminal(portal, talk, console).converse()

    assert [one.asked.text for one in portal.call(talk.history, 9)] == ["goodbye"]
    assert "A new conversation." in seen(console)
    assert seen(console).count("/history shows what was said") == 2


def test_leaving_an_answer_leaves_it_to_be_finished(
    portal: BlockingPortal, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = portal.call(Talk.resume, app, None)
    console = screen()
    terminal = Terminal(portal, talk, console)
    monkeypatch.setattr("tertulia.cli.terminal.Live.update", interrupted)

    typed(monkeypatch, "hello")
    terminal.converse()
    pipe(portal, talk, io.StringIO("again\n"), io.StringIO())

    assert "will be finished" in seen(console)
    assert [one.answer for one in portal.call(talk.history, 9)] == ["hello", "again"]


def test_a_failure_is_told_in_its_words(
    portal: BlockingPortal, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = portal.call(Talk.resume, app, None)
    typed(monkeypatch, "\x00")
    console = screen()

    Terminal(portal, talk, console).converse()

    assert "NUL" in seen(console)


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
