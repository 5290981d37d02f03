"""What knowledge costs: documents taken in, and messages for which something fitting is sought.

``python -m benchmarks.knowledge [--stores …] [--passages …]``. The documents are made of words that
are as unevenly spread as those of a language (Zipf's law), the messages of fifteen of the same words.
"""

import argparse
import asyncio
import itertools
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from tertulia.memory.knowledge.library import Library
from tertulia.stores import open_store

WORDS = 20_000
SEARCHES = 20
EACH = 500
"""Passages of a document, about."""


def main(given: Sequence[str] | None = None) -> None:
    """Print a table: passages in the collection, time to take in a thousand more, time of a search."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.knowledge", description=__doc__)
    parser.add_argument("--stores", nargs="+", default=["memory", "sqlite"])
    parser.add_argument("--passages", nargs="+", type=int, default=[500, 5_000, 20_000])
    options = parser.parse_args(given)
    print(f"{'store':<12}{'passages':>10}{'ms per 1000 taken in':>24}{'ms per search':>16}")
    for store, passages in itertools.product(options.stores, options.passages):
        with tempfile.TemporaryDirectory() as folder:
            url = "memory://" if store == "memory" else f"sqlite:///{Path(folder) / 'knowledge.db'}"
            taken, found, held = asyncio.run(measured(url, passages))
        print(f"{store:<12}{held:>10}{1e6 * taken / held:>24.0f}{1e3 * found:>16.1f}")


async def measured(url: str, passages: int) -> tuple[float, float, int]:
    """Return seconds for taking in, seconds of the median search, and how many passages there are."""
    store = open_store(url)
    await store.open()
    library, draw = Library(store.documents), random.Random(1)
    weights = list(itertools.accumulate(1 / rank for rank in range(1, WORDS + 1)))
    words = [_word(number) for number in range(WORDS)]
    try:
        taken, held = 0.0, 0
        while held < passages:
            text = _text(draw, words, weights, passages=min(EACH, passages - held))
            began = time.perf_counter()
            kept = await library.add("all", f"{held}.txt", text.encode())
            taken += time.perf_counter() - began
            held += kept.passages
        seconds = []
        for _ in range(SEARCHES):
            query = " ".join(draw.choices(words, cum_weights=weights, k=15))
            began = time.perf_counter()
            await library.search("all", query, limit=5)
            seconds.append(time.perf_counter() - began)
        return taken, median(seconds), held
    finally:
        await store.close()


def _text(draw: random.Random, words: Sequence[str], weights: Sequence[float], *, passages: int) -> str:
    said = (" ".join(draw.choices(words, cum_weights=weights, k=60)) + "." for _ in range(2 * passages))
    return "\n\n".join(said)


def _word(number: int) -> str:
    """Return a word that no other number has, the shorter the more common it is."""
    letters = "abcdefghijklmnopqrtuvwxyz"
    found = "q"
    while number:
        number, rest = divmod(number, len(letters))
        found += letters[rest]
    return f"{found}e"


if __name__ == "__main__":
    main()
