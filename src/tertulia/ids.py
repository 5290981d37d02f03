"""Identifiers: a short prefix that says what is named, then 32 hexadecimal digits of a UUIDv7.

Inside the house an id is this string; stores keep its 16 bytes only. Ids made later sort later.
"""

from typing import Final

from uuid_utils import uuid7

AGENT: Final = "agent"
CONVERSATION: Final = "conv"
MESSAGE: Final = "msg"
RUN: Final = "run"
OWNER: Final = "proc"
JOB: Final = "job"
DOCUMENT: Final = "doc"

_HEX: Final = 32
_NOTHING: Final = b"\xff" * 16
_DIGITS: Final = frozenset("0123456789abcdef")


def new_id(prefix: str) -> str:
    """Return a fresh id, greater than all that this process made before."""
    return f"{prefix}_{uuid7().hex}"


def is_id(text: str, *, prefix: str) -> bool:
    """Whether ``text`` has the form of one of our ids with this prefix."""
    head, _, tail = text.partition("_")
    return head == prefix and len(tail) == _HEX and _DIGITS.issuperset(tail)


def to_bytes(ident: str) -> bytes:
    """Return the 16 bytes that a store keeps of an id."""
    return bytes.fromhex(ident[-_HEX:])


def sought(ident: str) -> bytes:
    """Return the bytes to look an id up by; of a text that is no id, those that nothing has."""
    tail = ident[-_HEX:]
    return bytes.fromhex(tail) if len(tail) == _HEX and _DIGITS.issuperset(tail) else _NOTHING


def from_bytes(prefix: str, raw: bytes) -> str:
    """Return the id that :func:`to_bytes` was given."""
    return f"{prefix}_{raw.hex()}"
