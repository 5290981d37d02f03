"""Idempotency keys in memory: what has been made with which."""

from collections.abc import Mapping
from typing import TypeVar

from tertulia.conversations import Once
from tertulia.errors import IdempotencyMismatch
from tertulia.stores.in_memory.state import KnownKey, Room
from tertulia.stores.rules import KEY_LIFE_US

T = TypeVar("T")


def known(room: Room, scope: str, once: Once | None, *, now: int) -> KnownKey | None:
    """Return what is known of a request's key, if it has one."""
    found = room.keys.get((scope, once.key)) if once is not None else None
    return found if found is not None and found.expires > now else None


def made_with(key: KnownKey, request_hash: bytes, among: Mapping[str, T]) -> T:
    """Return what a request has made with a key; ``among`` is where such things are found by their ids.

    Raises :class:`~tertulia.errors.IdempotencyMismatch` if that was another request.
    """
    if key.request_hash != request_hash or key.resource not in among:
        raise IdempotencyMismatch
    return among[key.resource]


def made_before(room: Room, scope: str, once: Once | None, among: Mapping[str, T], *, now: int) -> T | None:
    """Return what the same request has made before, if it can be known again and has come before."""
    key = known(room, scope, once, now=now)
    return None if once is None or key is None else made_with(key, once.request_hash, among)


def note(room: Room, scopes: tuple[str, ...], once: Once | None, resource: str, *, now: int) -> None:
    """Note what was made with a key, if there is one."""
    if once is None:
        return
    forget(room, now=now, limit=len(room.keys))
    for scope in scopes:
        room.keys[scope, once.key] = KnownKey(
            request_hash=once.request_hash, resource=resource, expires=now + KEY_LIFE_US
        )


def forget(room: Room, *, now: int, limit: int) -> int:
    """Drop at most so many keys that are over and say how many that were; the oldest stand first."""
    gone = 0
    while gone < limit and room.keys and (oldest := next(iter(room.keys.items())))[1].expires <= now:
        del room.keys[oldest[0]]
        gone += 1
    return gone
