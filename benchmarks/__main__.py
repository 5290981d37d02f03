"""``python -m benchmarks``: all of them, one after another, in some minutes."""

from benchmarks import engine, start, turn


def main() -> None:
    """Measure what starting costs, then what a turn costs, and how much of that is the engine's."""
    start.main([])
    print()
    turn.main([])
    print()
    engine.main([])


if __name__ == "__main__":
    main()
