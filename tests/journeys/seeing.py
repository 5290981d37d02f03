"""What a journey looks at in the end: the database, and what the model was asked."""

import asyncio
from collections.abc import Callable, Sequence

from tertulia.messages import now_us
from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.history import Crash, History, Said, Witness, check
from tertulia.testing.reading import read_history
from tertulia.testing.storm.servers import Place

_LOOKS = 1200


async def check_history(
    place: Place, *, said: Sequence[Said] | None = None, crashes: Sequence[Crash] = ()
) -> History:
    """Wait until every run has ended; fail unless every promise was kept; return what there is."""
    history = await read_history(place.database_url)
    for _ in range(_LOOKS):
        if all(run.ended_at for run in history.runs):
            break
        await asyncio.sleep(0.05)
        history = await read_history(place.database_url)
    witness = Witness(said=said, calls=calls(place.fake), crashes=crashes, is_quiet=True)
    assert check(history, witness) == []
    return history


def calls(fake: FakeOpenAI) -> dict[str, int]:
    """Return how often the model was asked, by message."""
    counted = fake.stats()["by_message"]
    assert isinstance(counted, dict)
    return counted


def texts(history: History, conversation: str) -> list[str]:
    """Return what stands in a conversation, in order."""
    return [each.text for each in history.messages if f"conv_{each.conversation_id}" == conversation]


def asked_texts(body: dict[str, object]) -> list[str]:
    """Return what users say in a request to the model, in order."""
    messages = body["messages"]
    assert isinstance(messages, list)
    return [each["content"] for each in messages if each["role"] == "user"]


async def asked(fake: FakeOpenAI, *, times: int = 1) -> None:
    """Wait until the model has been asked so many times."""
    await until(lambda: fake.calls >= times, f"call {times} of the model")


async def until(is_so: Callable[[], bool], what: str = "it") -> None:
    """Wait until something is so."""
    for _ in range(_LOOKS):
        if is_so():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{what} never came to be")


class Outage:
    """Notes the time for which something was away, as a crash."""

    def __init__(self) -> None:
        self._begin = now_us()

    def over(self) -> Crash:
        return Crash(begin=self._begin, end=now_us())
