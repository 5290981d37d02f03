"""``python -m benchmarks``: all of them, one after another, in less than four minutes."""

from benchmarks import start, turn


def main() -> None:
    """Measure what starting costs, then what a turn costs."""
    start.main([])
    print()
    turn.main([])


if __name__ == "__main__":
    main()
