"""What the log says, to programs and to people, and what it never says."""

import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from typing_extensions import override

from tertulia.server.logs import write

OURS = logging.getLogger("tertulia.server.edge")
THEIRS = logging.getLogger("somebody.else")


class Terminal(StringIO):
    @override
    def isatty(self) -> bool:
        return True


@pytest.fixture
def lines(log: Callable[[], str]) -> Callable[[], list[dict[str, Any]]]:
    """Return the lines that were written."""
    return lambda: [json.loads(line) for line in log().splitlines()]


@pytest.fixture
def words(log_to: Callable[[StringIO], Callable[[], str]]) -> Callable[[], str]:
    """Return what was written to a terminal."""
    return log_to(Terminal())


def fail(text: str) -> None:
    raise ValueError(text)


def test_a_line_of_ours_is_an_object_with_its_fields(lines: Callable[[], list[dict[str, Any]]]) -> None:
    write(OURS, logging.INFO, "request", method="GET", status=200, run="run_1")

    [line] = lines()
    at = datetime.fromisoformat(line.pop("timestamp"))
    assert at.utcoffset() == timedelta(0)
    assert line == {
        "event": "request",
        "level": "info",
        "logger": "tertulia.server.edge",
        "method": "GET",
        "status": 200,
        "run": "run_1",
    }


def test_a_librarys_line_is_an_object_too(lines: Callable[[], list[dict[str, Any]]]) -> None:
    THEIRS.critical("%s of %d", "one", 2)

    [line] = lines()
    assert (line["event"], line["level"], line["logger"]) == ("one of 2", "critical", "somebody.else")


def test_only_what_matters_enough_is_written(lines: Callable[[], list[dict[str, Any]]]) -> None:
    write(OURS, logging.DEBUG, "request")
    THEIRS.debug("details")
    logging.getLogger("uvicorn.error").info("Started server process")
    logging.getLogger("uvicorn.access").error("GET /?secret")
    logging.getLogger("uvicorn.error").warning("Please use \"pip install 'uvicorn[standard]'\".")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")

    assert [line["event"] for line in lines()] == ["Invalid HTTP request received."]


def test_of_an_exception_its_kind_and_places_are_told(lines: Callable[[], list[dict[str, Any]]]) -> None:
    try:
        fail("a secret")
    except ValueError:
        THEIRS.exception("it failed")

    [line] = lines()
    assert (line["event"], line["level"], line["error"]) == ("it failed", "error", "ValueError")
    assert line["at"][-1].startswith("test_logs.py:")
    assert line["at"][-1].endswith(" fail")
    assert "secret" not in str(line)


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ("ValueError: a secret", "ValueError"),
        ("tertulia.errors.StoreUnavailable: the database is away", "the database is away"),
        ("tertulia.errors.StoreUnavailable", "tertulia.errors.StoreUnavailable"),
    ],
)
def test_a_traceback_that_is_logged_as_text_becomes_one_line(
    lines: Callable[[], list[dict[str, Any]]], last: str, told: str
) -> None:
    THEIRS.error(f'Traceback (most recent call last):\n  File "x.py", line 1, in x\n    secret\n{last}\n')

    assert [line["event"] for line in lines()] == [told]


@pytest.mark.parametrize("value", [object, 2**80, "\ud800", {1: 2}], ids=["type", "number", "half", "keys"])
def test_no_value_keeps_a_line_from_being_written(
    lines: Callable[[], list[dict[str, Any]]], value: object
) -> None:
    write(OURS, logging.INFO, "odd", value=value)

    [line] = lines()
    assert line["event"] == "odd"
    assert "value" in line


def test_a_terminal_is_shown_words(words: Callable[[], str]) -> None:
    write(OURS, logging.INFO, "serving", address="http://127.0.0.1:8000", model=None)
    write(OURS, logging.WARNING, "model", note="two words")

    assert [line.split(" ", 1)[1] for line in words().splitlines()] == [
        "info    serving address=http://127.0.0.1:8000 model=None",
        "warning model note='two words'",
    ]
    datetime.strptime(words()[:8], "%H:%M:%S")


def test_nobody_writes_control_characters_to_a_terminal(words: Callable[[], str]) -> None:
    write(OURS, logging.INFO, "\x1b[2J", value="\x1b]0;\x07")
    THEIRS.warning("one\ntwo")

    assert "\x1b" not in words()
    assert len(words().splitlines()) == 2
