"""Calls of tools put together from the pieces in which servers stream them."""

from dataclasses import dataclass, field
from typing import Final

import orjson

from tertulia.errors import ModelMalformed
from tertulia.ids import new_id
from tertulia.messages import clean_text
from tertulia.parts import ToolCall

MAX_CALLS: Final = 1000

_ID: Final = "call"


@dataclass(slots=True)
class _Call:
    """A call as far as it has been heard."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether its arguments are a JSON object, so that nothing can come after them."""
        if not self.arguments or not self.arguments[-1].rstrip().endswith("}"):
            return False
        try:
            orjson.loads("".join(self.arguments))
        except orjson.JSONDecodeError:
            return False
        return True

    def add(self, piece: "_Piece") -> None:
        self.id = self.id or piece.id
        if piece.name != self.name and not self.arguments:
            self.name += piece.name
        self.name = self.name or piece.name
        if piece.arguments:
            self.arguments.append(piece.arguments)


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one event tells of a call; empty for what it does not tell."""

    index: int | None
    id: str
    name: str
    arguments: str

    def begins_another(self, call: _Call) -> bool:
        """Whether this cannot go on with the call that it seems to belong to."""
        if self.id and call.id and self.id != call.id:
            # Some servers give every piece an id of its own; only a first piece tells the name.
            return self.index is None or bool(self.name and call.name)
        return bool(self.name and call.name and self.arguments) and call.is_complete


class CallsHeard:
    """The calls of an answer, in the order in which they were begun.

    Pieces belong together by their index. Servers that give none, or the same to all, are told apart
    by ids, and those without ids by names and by whether a call's arguments are complete.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self.size = 0
        """Characters of all names and arguments."""

    def __bool__(self) -> bool:
        return bool(self._calls)

    def hear(self, pieces: object) -> None:
        """Take in what a stream's event tells of calls; raises ``ModelMalformed`` for what is none."""
        for piece in _pieces(pieces):
            self._note(piece, self._meant(piece))

    def hear_whole(self, calls: object) -> None:
        """Take in the calls of an answer that came in one piece; raises as :meth:`hear`."""
        for call in _pieces(calls):
            self._note(call, None)

    def hear_function(self, call: object) -> None:
        """Take in a piece of the one call that older servers know; raises as :meth:`hear`."""
        self.hear([{"index": 0, "function": call}])

    def all(self) -> tuple[ToolCall, ...]:
        """Return the calls; ids that are missing or given twice are replaced.

        Raises ``ModelMalformed`` for a call that does not say of what.
        """
        told: dict[str, ToolCall] = {}
        for call in self._calls:
            name, arguments = clean_text(call.name), clean_text("".join(call.arguments))
            if not name and not arguments:
                continue
            if not name:
                raise ModelMalformed("the model called a tool without a name")
            ident = clean_text(call.id)
            if not ident or ident in told:
                ident = new_id(_ID)
            told[ident] = ToolCall(id=ident, name=name, arguments=arguments)
        return tuple(told.values())

    def _meant(self, piece: _Piece) -> _Call | None:
        """Return the call that a piece goes on with; ``None`` if it begins one."""
        last = self._calls[-1] if self._calls else None
        call = self._by_index.get(piece.index) if piece.index is not None else self._by_id.get(piece.id, last)
        if call is None and last and not (piece.id or piece.name or last.is_complete):
            # Some servers count on within one call.
            call = last
        return None if call is None or piece.begins_another(call) else call

    def _note(self, piece: _Piece, call: _Call | None) -> None:
        if call is None:
            call = _Call()
            self._calls.append(call)
            if len(self._calls) > MAX_CALLS:
                raise ModelMalformed("the model called more tools than there can be")
        if piece.index is not None:
            self._by_index[piece.index] = call
        if piece.id:
            self._by_id.setdefault(piece.id, call)
        call.add(piece)
        self.size += len(piece.name) + len(piece.arguments)


def _pieces(found: object) -> list[_Piece]:
    if not isinstance(found, list):
        raise ModelMalformed("the model's provider sent something that is no list of calls")
    return [_piece(each) for each in found]


def _piece(found: object) -> _Piece:
    if not isinstance(found, dict):
        raise ModelMalformed("the model's provider sent something that is no call of a tool")
    function = found.get("function")
    if not isinstance(function, dict):
        function = {}
    index = found.get("index")
    return _Piece(
        index if isinstance(index, int) else None,
        _text(found.get("id")),
        _text(function.get("name")),
        _arguments(function.get("arguments")),
    )


def _text(found: object) -> str:
    return found if isinstance(found, str) else ""


def _arguments(found: object) -> str:
    """Return arguments as text; some servers send them as the object itself."""
    if isinstance(found, dict):
        return orjson.dumps(found).decode()
    return _text(found)
