"""A JSON Schema written as a grammar (Lark, as llguidance reads it) whose sentences all end in time.

What the grammar cannot say (``not``, ``if``, ``contains``) is left to whoever checks the answer. In
everything else it asks for at least what the schema asks for: values that the schema names no type
of are short ones, properties that it does not name are left out where it names some, and what must
not be repeated is not.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import orjson

from tertulia.errors import ModelRefused
from tertulia.llms.bounded.merging import Given, Schema, both, merged
from tertulia.llms.bounded.reading import ANY_TYPE, is_plain_reference, target_of, types_of, values_of
from tertulia.llms.bounded.scalars import Scalar, a_key, a_number, a_string

MAX_RULES: Final = 2000
MAX_LOOKS: Final = 5000
"""How many subschemas are looked at, those that are referred to several times counted again."""

_TOO_LARGE: Final = "the response shape is too large for the embedded model"
_START: Final = "%llguidance {}\nstart: "
_MANNER: Final = {"x-guidance": {"lenient": True, "whitespace_flexible": False}}
_MAX_MEMBERS: Final = 40
_MAX_ITEMS: Final = 1000
_SIMPLE: Final[Schema] = {"type": [name for name in ANY_TYPE if name != "array"]}
_FEW: Final[Mapping[str, Sequence[object]]] = {"boolean": (False, True), "null": (None,)}
Path: TypeAlias = tuple[str, ...]
"""The references on the way to a place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How far an answer may go where its schema does not say."""

    units: int
    """Of four characters, in a string."""
    items: int
    """In an array, and in an object whose properties have no names."""
    digits: int
    """Before a number's point."""
    returns: int
    """How often a schema may come back to itself."""
    optional: int
    """Of an object's properties that are not required, so many may be there: the first ones."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a grammar."""

    text: str
    tokens: int
    """The most that it costs."""


@dataclass(frozen=True, slots=True)
class _Member:
    """Something that may stand in a sequence."""

    piece: Piece
    is_required: bool


def write(schema: Schema, bounds: Bounds) -> Piece | None:
    """Return the whole grammar; ``None`` if no answer can be valid within these bounds.

    Raises :class:`~tertulia.errors.ModelRefused` if it would be too large.
    """
    writer = _Writer(schema, bounds)
    found = writer.value(schema, ())
    return Piece(_START + found.text + "\n" + writer.rules(), found.tokens) if found else None


class _Writer:
    """Writes one grammar."""

    def __init__(self, root: Schema, bounds: Bounds) -> None:
        self._root, self._bounds = root, bounds
        self._names: dict[str, str] = {}
        self._referred: dict[object, Piece | None] = {}
        self._looks = 0

    def rules(self) -> str:
        """Return everything that the pieces refer to."""
        return "".join(f"{name}: {text}\n" for text, name in self._names.items())

    def value(self, node: Given, path: Path) -> Piece | None:
        """Return a value that is valid against this; ``None`` if there is none within the bounds."""
        if isinstance(node, bool):
            return self._any_of([{"type": name} for name in ANY_TYPE], path) if node else None
        if not is_plain_reference(node):
            return self._flat_value(node, path)
        key = (node["$ref"], frozenset(Counter(path).items()))
        if key not in self._referred:
            self._referred[key] = self._flat_value(node, path)
        return self._referred[key]

    def _flat_value(self, node: Schema, path: Path) -> Piece | None:
        flat = self._flat(node, path)
        if flat is None:
            return None
        node, path = flat
        for key in ("anyOf", "oneOf"):
            if isinstance(alternatives := node.get(key), list):
                rest = {name: value for name, value in node.items() if name != key}
                return self._any_of([both(rest, each) for each in alternatives], path)
        if (values := values_of(node)) is not None:
            return self._enum(values) if values else None
        types = types_of(node)
        if len(types) == 1:
            return self._typed(node, types[0], path)
        return self._any_of([{**node, "type": name} for name in types], path)

    def _flat(self, node: Schema, path: Path) -> tuple[Schema, Path] | None:
        """Return a schema that has taken in what it refers to and all of which it consists."""
        self._looks += 1
        if self._looks > MAX_LOOKS:
            raise ModelRefused(_TOO_LARGE)
        while isinstance(reference := node.get("$ref"), str):
            if path.count(reference) > self._bounds.returns:
                return None
            path = (*path, reference)
            rest = {name: value for name, value in node.items() if name != "$ref"}
            target = both(rest, target_of(self._root, reference))
            if isinstance(target, bool):
                return None
            node = target
        parts = node.get("allOf")
        if not isinstance(parts, list):
            return node, path
        found: Schema = {name: value for name, value in node.items() if name != "allOf"}
        for part in parts:
            flat = self._flat(part, path) if isinstance(part, dict) else (({}, path) if part else None)
            if flat is None:
                return None
            found, path = merged(found, flat[0]), flat[1]
        return found, path

    def _typed(self, node: Schema, name: str, path: Path) -> Piece | None:
        if name == "object":
            return self._object(node, path)
        if name == "array":
            return self._array(node, path)
        if name == "string":
            return self._scalar(a_string(node, units=self._bounds.units))
        if name in _FEW:
            return self._enum(_FEW[name])
        number = a_number(node, is_whole=name == "integer", digits=self._bounds.digits)
        return self._scalar(number) if number else None

    # --- What has values inside ---

    def _object(self, node: Schema, path: Path) -> Piece | None:
        properties = {**(node.get("properties") or {})}
        required = list(node.get("required") or ())
        for name in required:
            properties.setdefault(name, node.get("additionalProperties", True))
        if not properties:
            return self._map(node, path)
        least, most = node.get("minProperties", 0), node.get("maxProperties", _MAX_MEMBERS)
        members: list[_Member] = []
        spare = max(self._bounds.optional, least)
        for name, child in properties.items():
            is_required = name in required
            spare -= not is_required
            if spare < 0 and not is_required:
                continue
            value = self.value(child, path)
            if value is not None:
                members.append(_Member(self._rule([_literal(_json(name) + ":"), value]), is_required))
            elif is_required:
                return None
        return self._joined(members, "{}", least=least, most=most)

    def _map(self, node: Schema, path: Path) -> Piece | None:
        """Return an object whose properties the schema does not name."""
        pattern, child = next(iter((node.get("patternProperties") or {}).items()), (None, None))
        if child is None:
            child = node.get("additionalProperties", True)
        value = self.value(_within(child), path)
        slots: list[Piece] = []
        if value is not None:
            entry = self._rule([self._scalar(a_key(pattern)), _literal(":"), value])
            slots = [entry] * self._count(node, "Properties")
        return self._sequence(slots, "{}", least=node.get("minProperties", 0))

    def _array(self, node: Schema, path: Path) -> Piece | None:
        least, items = node.get("minItems", 0), node.get("items", True)
        if node.get("uniqueItems") is True and isinstance(items, dict):
            flat = self._flat(items, path)
            if flat and (values := values_of(flat[0])):
                members = [_Member(self._enum([value]), is_required=False) for value in values]
                return self._joined(members, "[]", least=least, most=node.get("maxItems", _MAX_MEMBERS))
        if least > _MAX_ITEMS:
            return None
        return self._sequence(self._slots(node, path), "[]", least=least)

    def _slots(self, node: Schema, path: Path) -> list[Piece]:
        """Return what may stand at each place of an array."""
        prefix, items = node.get("prefixItems"), node.get("items", True)
        if isinstance(items, list):  # as older drafts have it
            prefix, items = items, node.get("additionalItems", True)
        prefix = prefix or []
        count = self._count(node, "Items")
        if prefix and items is True:
            count = min(count, max(len(prefix), node.get("minItems", 0)))
        slots: list[Piece] = []
        for place in range(max(count, min(len(prefix), node.get("maxItems", _MAX_ITEMS)))):
            piece = self.value(prefix[place] if place < len(prefix) else _within(items), path)
            if piece is None:
                break
            slots.append(piece)
        return slots

    def _count(self, node: Schema, what: str) -> int:
        least, most = node.get(f"min{what}", 0), node.get(f"max{what}", _MAX_ITEMS)
        bound = self._bounds.items
        if node.get("uniqueItems") is True:
            bound = min(bound, 1)
        return int(min(most, max(least, bound), _MAX_ITEMS))

    # --- Putting together ---

    def _any_of(self, alternatives: Sequence[Given], path: Path) -> Piece | None:
        found = [piece for each in alternatives if (piece := self.value(each, path))]
        if not found:
            return None
        texts = dict.fromkeys(piece.text for piece in found)
        return self._named(" | ".join(texts), max(piece.tokens for piece in found))

    def _joined(self, members: list[_Member], brackets: str, *, least: int, most: int) -> Piece | None:
        """Return members in their order, any of which may be missing that is not required."""
        chosen = _chosen(members, least=least, most=min(most, _MAX_MEMBERS))
        if chosen is None:
            return None
        members = chosen
        tokens = len(brackets) + sum(member.piece.tokens + 1 for member in members)
        first = next((place for place, member in enumerate(members) if member.is_required), len(members))
        beginnings = [
            f"{members[place].piece.text} {_rest(members[place + 1 :])}"
            for place in range(min(first + 1, len(members)))
        ]
        inner = f"({' | '.join(beginnings)}){'' if first < len(members) else '?'}" if beginnings else ""
        return self._named(f'"{brackets[0]}" {inner} "{brackets[1]}"', tokens)

    def _sequence(self, slots: list[Piece], brackets: str, *, least: int) -> Piece | None:
        """Return the first so many of what stands at each place, and perhaps more of it."""
        if len(slots) < least:
            return None
        text = ""
        for place in reversed(range(len(slots))):
            comma = '"," ' if place else ""
            text = f"{comma}{slots[place].text} {text}"
            text = text if place < least else f"({text})?"
        tokens = len(brackets) + sum(slot.tokens + 1 for slot in slots)
        return self._named(f'"{brackets[0]}" {text} "{brackets[1]}"', tokens)

    def _enum(self, values: Sequence[object]) -> Piece:
        pieces = [_literal(_json(value)) for value in values]
        return self._named(" | ".join(piece.text for piece in pieces), max(piece.tokens for piece in pieces))

    def _scalar(self, scalar: Scalar) -> Piece:
        return self._named("%json " + _json({**scalar.schema, **_MANNER}), scalar.tokens)

    def _rule(self, pieces: Sequence[Piece]) -> Piece:
        return self._named(" ".join(piece.text for piece in pieces), sum(piece.tokens for piece in pieces))

    def _named(self, text: str, tokens: int) -> Piece:
        name = self._names.setdefault(text, f"r{len(self._names)}")
        if len(self._names) > MAX_RULES:
            raise ModelRefused(_TOO_LARGE)
        return Piece(name, tokens)


def _chosen(members: list[_Member], *, least: int, most: int) -> list[_Member] | None:
    """Return those that may be there, so many of them required that there are enough."""
    required = sum(member.is_required for member in members)
    if required > most or len(members) < least:
        return None
    spare, lacking = most - required, least - required
    found: list[_Member] = []
    for member in members:
        if member.is_required:
            found.append(member)
        elif spare > 0:
            found.append(_Member(member.piece, is_required=lacking > 0))
            spare, lacking = spare - 1, lacking - 1
    return found


def _rest(members: Sequence[_Member]) -> str:
    return " ".join(
        f'"," {member.piece.text}' if member.is_required else f'("," {member.piece.text})?'
        for member in members
    )


def _within(items: Given) -> Given:
    """Return what may be inside of something; simple values where a schema leaves that open."""
    return _SIMPLE if items is True or items == {} else items


def _literal(text: str) -> Piece:
    """Return a text that can only be as it is; two bytes a token are more than it ever takes."""
    raw = text.encode()
    return Piece(_json(text), (len(raw) + 1) // 2 if text.isascii() else len(raw))


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
