"""``python -m tests.journeys.deaths``: servers die as often as asked for; says what came of it."""

import argparse
import asyncio
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from time import monotonic

from tertulia.testing.fake_openai import FakeOpenAI
from tertulia.testing.storm.servers import Place
from tests.journeys.dying import Dying, lives
from tests.postgres import PostgresServer

_AT_ONCE = 20
"""Deaths on one database, before the next storm has a fresh one."""


@contextmanager
def _databases(kind: str) -> Iterator[Iterator[str]]:
    """Fresh databases of a kind, one after another."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield (f"sqlite:///{Path(folder) / f'{i}.db'}" for i in range(10**6))
    else:
        with PostgresServer() as server:
            server.make("migrated")
            yield (server.url(server.fresh(template="migrated")) for _ in range(10**6))


async def _storm(url: str, deaths: int, *, seed: int, lease: float, replicas: int) -> Dying:
    async with FakeOpenAI(latency=0.05) as fake:
        storm = Dying(Place(database_url=url, fake=fake, lease_seconds=lease), replicas=replicas)
        await storm.rage(lives(deaths, seed=seed))
    return storm


def _told(storms: list[Dying], seconds: float) -> Iterator[str]:
    wanted = [each for storm in storms for each in storm.wanted]
    cancelled = sum(len(storm.said) for storm in storms) - len(wanted)
    asked = sum(storm.asked for storm in storms)
    recoveries = sorted(each for storm in storms for each in storm.recoveries)
    deaths = sum((storm.deaths for storm in storms), Counter[str]())
    yield f"{deaths.total()} deaths in {seconds:.0f} s: {dict(deaths.most_common())}"
    unanswered = sum(each.answer is None for each in wanted)
    extra = asked - len(wanted)
    yield f"{len(wanted)} messages, {asked} first model calls, {extra} extra; {unanswered} given up"
    yield f"{cancelled} more that were cancelled"
    if len(recoveries) > 1:
        high = quantiles(recoveries, n=20)[-1]
        yield f"orphaned runs ended after {median(recoveries):.2f} s (median), {high:.2f} s (95 %)"
    violations = [each for storm in storms for each in storm.violations]
    yield from (f"VIOLATION {each.rule}: {each.detail}" for each in violations)
    yield f"{len(violations)} violations"


def main() -> int:
    """Return 1 if any promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--replicas", type=int, default=0, help="servers beside the one that dies")
    parser.add_argument("--lease", type=float, default=1.0, help="seconds")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))  # noqa: S311
    given = parser.parse_args()
    sys.stdout.write(f"seed {given.seed}\n")
    kinds = ("sqlite", "postgresql") if given.database == "both" else (given.database,)
    has_failed = False
    for kind in kinds:
        begun, storms, left = monotonic(), [], given.repetitions // len(kinds)
        with _databases(kind) as urls:
            while left > 0:
                deaths, seed = min(left, _AT_ONCE), given.seed + left
                storm = _storm(next(urls), deaths, seed=seed, lease=given.lease, replicas=given.replicas)
                storms.append(asyncio.run(storm))
                left -= deaths
        has_failed |= any(storm.violations for storm in storms)
        sys.stdout.writelines(f"{kind}: {line}\n" for line in _told(storms, monotonic() - begun))
        sys.stdout.flush()
    return 1 if has_failed else 0


if __name__ == "__main__":
    sys.exit(main())
