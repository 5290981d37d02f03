"""What Tertulia costs: the benchmarks, each a command that prints a table."""
