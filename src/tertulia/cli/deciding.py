"""What is to be decided, for a person: what is shown of it, in which words they decide, and where else."""

import shlex
from typing import Final

import orjson

from tertulia.conversations import Wait
from tertulia.engine import VERDICTS
from tertulia.events import RunWaiting

_OTHER_WORDS: Final = {"approve": "yes", "deny": "no"}
_NEEDED: Final = {"say": "What do you say?", "done": "What came of it?"}


def shown(wait: Wait) -> str:
    """Return what is to be decided, and all that a tool would be given."""
    subject = orjson.loads(wait.subject) if wait.subject else None
    given = subject.get("arguments") if isinstance(subject, dict) else None
    whole = given if isinstance(given, str) else wait.subject
    return wait.message if whole in wait.message else f"{wait.message}\n{whole}"


def verdict_of(said: str, wait: Wait) -> str | None:
    """Return what somebody has decided with this word, or its beginning; ``None`` if that says nothing."""
    words = {verdict: verdict for verdict in VERDICTS[wait.kind]}
    words |= {_OTHER_WORDS[verdict]: verdict for verdict in words if verdict in _OTHER_WORDS}
    return next((verdict for word, verdict in words.items() if said and word.startswith(said)), None)


def words_for(wait: Wait) -> str:
    """Return the words that decide."""
    told = (f"{one} (or {_OTHER_WORDS[one]})" if one in _OTHER_WORDS else one for one in VERDICTS[wait.kind])
    return ", ".join(told)


def needed_for(verdict: str) -> str | None:
    """Return what has to be asked besides, for a verdict that goes with a text; ``None`` for the others."""
    return _NEEDED.get(verdict)


def how_to_decide(waiting: RunWaiting, address: str) -> str:
    """Return where somebody can decide who is not at a terminal; the server is at this address."""
    verdicts = VERDICTS[waiting.wait.kind]
    decision = orjson.dumps({"verdict": verdicts[0], "path": waiting.wait.path}).decode()
    return (
        f"Decide at a terminal, where `tertulia chat` asks for it, or over HTTP, where a server runs; "
        f"the verdicts are {', '.join(verdicts)}:\n"
        f"  curl -sS '{address}/v1/runs?status=waiting'\n"
        f"  curl -sS {address}/v1/runs/{waiting.run_id}/decide "
        f"-H 'Content-Type: application/json' -d {shlex.quote(decision)}"
    )
