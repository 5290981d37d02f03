"""How much of a document is taken in."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingLimits:
    """What a document may cost; one that would cost more is refused."""

    max_bytes: int = 10_000_000
    max_characters: int = 1_000_000
    """Of its text: some 500 pages. All of it is indexed in one transaction."""
    max_pages: int = 2_000
    """Of a PDF."""
    within_seconds: float = 30.0
    """Time that reading a PDF may take."""
