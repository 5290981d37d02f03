"""The ids of one prompt's calls, as a provider takes them."""

import hashlib
from re import Pattern
from typing import Final

_FORMS: Final = ("call_{}", "{}")
_LENGTHS: Final = (24, 9)


class CallIds:
    """Gives every call of a prompt an id that fits and that no other has; its result gets the same.

    Ids that fit stay as they are. All else depends on what stands before only, so that the same
    history is always sent as the same bytes.
    """

    def __init__(self, fitting: Pattern[str]) -> None:
        self._fitting = fitting
        self._given: dict[str, str] = {}
        self._taken: set[str] = set()

    def of_call(self, call_id: str) -> str:
        """Return the id of a call that stands next in the prompt."""
        fits = self._fitting.fullmatch(call_id) is not None
        found = call_id if fits and call_id not in self._taken else self._made(call_id)
        self._taken.add(found)
        self._given[call_id] = found
        return found

    def of_result(self, call_id: str) -> str:
        """Return the id of the newest call that had this one before."""
        return self._given.get(call_id) or self._made(call_id)

    def _made(self, call_id: str) -> str:
        attempt = 0
        while True:
            digest = hashlib.sha256(f"{attempt}:{call_id}".encode("utf-8", "replace")).hexdigest()
            for form, length in zip(_FORMS, _LENGTHS, strict=True):
                made = form.format(digest[:length])
                if made not in self._taken and self._fitting.fullmatch(made):
                    return made
            attempt += 1
