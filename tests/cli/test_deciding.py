"""In which words a person decides, and what they are shown."""

from dataclasses import replace

import pytest

from tertulia.cli.deciding import needed_for, shown, verdict_of, words_for
from tertulia.conversations import WaitKind
from tertulia.engine import VERDICTS
from tertulia.testing.builders import a_wait


@pytest.mark.parametrize("kind", VERDICTS)
def test_every_verdict_is_a_word_and_named_as_one(kind: WaitKind) -> None:
    wait = replace(a_wait(), kind=kind)

    assert [verdict_of(verdict, wait) for verdict in VERDICTS[kind]] == [*VERDICTS[kind]]
    assert all(verdict in words_for(wait) for verdict in VERDICTS[kind])


@pytest.mark.parametrize(
    ("said", "verdict"),
    [("y", "approve"), ("yes", "approve"), ("n", "deny"), ("no", "deny"), ("", None), ("nope", None)],
)
def test_an_approval_is_a_yes_or_a_no(said: str, verdict: str | None) -> None:
    assert verdict_of(said, a_wait()) == verdict


def test_a_yes_decides_nothing_but_an_approval() -> None:
    assert verdict_of("yes", replace(a_wait(), kind="unknown_outcome")) is None


def test_what_goes_with_a_verdict_is_asked_for() -> None:
    asked = {verdict for verdicts in VERDICTS.values() for verdict in verdicts if needed_for(verdict)}

    assert asked == {"done", "say"}


@pytest.mark.parametrize(
    ("subject", "told"),
    [
        ("", "May the mail be sent?"),
        ('{"tool": "mail", "arguments": "{\\"to\\": \\"Zoë\\"}"}', 'May the mail be sent?\n{"to": "Zoë"}'),
        ('{"tool": "mail", "arguments": "be sent"}', "May the mail be sent?"),
        ('{"step": 3}', 'May the mail be sent?\n{"step": 3}'),
    ],
)
def test_all_of_what_it_is_about_is_shown(subject: str, told: str) -> None:
    assert shown(a_wait(subject=subject)) == told
