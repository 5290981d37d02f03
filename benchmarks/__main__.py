"""``python -m benchmarks``: all of them, one after another, in some minutes."""

from benchmarks import engine, models, start, turn


def main() -> None:
    """Measure what starting costs, what a turn costs, how much of that is the engine's, and asking models."""
    start.main([])
    print()
    turn.main([])
    print()
    engine.main([])
    print()
    models.main([])


if __name__ == "__main__":
    main()
