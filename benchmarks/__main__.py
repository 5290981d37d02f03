"""``python -m benchmarks``: all of them, one after another, in some minutes."""

from benchmarks import engine, history, models, prompt_cache, start, turn


def main() -> None:
    """Measure what starting costs, turns, the engine in them, asking models, histories, and what is sent."""
    start.main([])
    print()
    turn.main([])
    print()
    engine.main([])
    print()
    models.main([])
    print()
    history.main([])
    print()
    prompt_cache.main([])


if __name__ == "__main__":
    main()
