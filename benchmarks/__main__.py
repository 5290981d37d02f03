"""``python -m benchmarks``: all of them, one after another, in some minutes."""

from benchmarks import engine, history, library, models, prompt_cache, start, turn


def main() -> None:
    """Measure starting, turns, the engine in them, models, the library, histories, and what is sent."""
    start.main([])
    print()
    turn.main([])
    print()
    engine.main([])
    print()
    models.main([])
    print()
    library.main([])
    print()
    history.main([])
    print()
    prompt_cache.main([])


if __name__ == "__main__":
    main()
