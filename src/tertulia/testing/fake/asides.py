"""What the fake model server answers at once: everything that is no call of the model."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs

import orjson

from tertulia.testing.fake.keeping import Kept, Talk, items_of
from tertulia.testing.fake.model import FakeModel
from tertulia.testing.fake.response import Item
from tertulia.testing.fake.said import MODEL, fresh_id
from tertulia.testing.fake.sent import Wrong, response
from tertulia.testing.fake.vectors import check_embedding, embeddings
from tertulia.testing.fake.wire import Request

_PATH: Final = re.compile(r"/(responses|conversations|embeddings|models|__stats|__control)(?:/(.+))?$")
_PAGE: Final = 20
_LONGEST_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Wish:
    """One HTTP request, taken apart."""

    method: str
    room: str
    """Of what it is about, as ``responses``; empty for paths that there are not."""
    names: tuple[str, ...]
    """The rest of its path."""
    query: Mapping[str, list[str]]
    body: bytes

    @classmethod
    def of(cls, method: bytes, url: bytes, body: bytes) -> "Wish":
        """Return a request taken apart."""
        path, _, query = url.decode("utf-8", "replace").partition("?")
        found = _PATH.search(path)
        names = tuple((found[2] or "").split("/")) if found and found[2] else ()
        return cls(method.decode(), found[1] if found else "", names, parse_qs(query), body)

    @property
    def request(self) -> Request:
        """Its body, decoded; raises ``Wrong``."""
        return request_of(self.body or b"{}")

    def asks(self, name: str) -> str | None:
        """Return a value of its query."""
        return self.query.get(name, [None])[-1]

    @property
    def changes_talks(self) -> bool:
        """Whether something is done to conversations."""
        return self.method != "GET" and self.room == "conversations"

    @property
    def is_fetch(self) -> bool:
        """Whether it asks for a kept answer."""
        return self.method == "GET" and self.room == "responses" and len(self.names) == 1


def request_of(body: bytes) -> Request:
    """Return the body of a request; raises ``Wrong``."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Wrong(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your"
            " HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid"
            " JSON.)"
        ) from None
    if not isinstance(found, dict):
        raise Wrong("Invalid type for the body: expected an object.", code="invalid_type")
    return found


def follows(wish: Wish, kept: Kept, *, strict: bool) -> int | None:
    """Return after which number a kept answer is to be followed; ``None`` if it is asked for whole."""
    if wish.asks("stream") != "true":
        return None
    if strict and not (kept.request.get("stream") and kept.request.get("background")):
        raise Wrong(
            "This response cannot be streamed because it was not created with background=true and"
            " stream=true.",
            param="stream",
        )
    return int(wish.asks("starting_after") or -1)


def aside(model: FakeModel, wish: Wish) -> bytes:
    """Return the response to what is no call of the model."""
    act = _ROUTES.get((wish.method, wish.room, len(wish.names)))
    if act is None or (len(wish.names) > 1 and wish.names[1] not in ("cancel", "input_items", "items")):
        return Wrong("no such path", status=404).response()
    if wish.changes_talks and (fault := model.converse(wish.body)) and (whole := fault.response()):
        return whole
    try:
        found = act(model, wish)
    except Wrong as wrong:
        return wrong.response()
    return found if found.startswith(b"HTTP") else response(200, found)


def _stats(model: FakeModel, _wish: Wish) -> bytes:
    return orjson.dumps(model.stats())


def _control(model: FakeModel, wish: Wish) -> bytes:
    try:
        model.control(orjson.loads(wish.body or b"{}"))
    except (ValueError, TypeError, AttributeError) as error:
        raise Wrong(str(error)) from error
    return b"{}"


def _models(_model: FakeModel, _wish: Wish) -> bytes:
    return orjson.dumps({"object": "list", "data": [_MODEL]})


def _one_model(_model: FakeModel, wish: Wish) -> bytes:
    if wish.names[0] != MODEL:
        raise Wrong(f"The model '{wish.names[0]}' does not exist", code="model_not_found", status=404)
    return orjson.dumps(_MODEL)


def _embed(model: FakeModel, wish: Wish) -> bytes:
    fault = model.embedded(wish.body)
    if fault and (whole := fault.response()):
        return whole
    request = wish.request
    if model.strict:
        check_embedding(request)
    return embeddings(request)


def _delete_answer(model: FakeModel, wish: Wish) -> bytes:
    name = model.shelf.answer(wish.names[0]).answer.id
    model.expire(name)
    return orjson.dumps({"id": name, "object": "response", "deleted": True})


def _cancel(model: FakeModel, wish: Wish) -> bytes:
    kept = model.shelf.answer(wish.names[0])
    if not kept.request.get("background"):
        raise Wrong("Cannot cancel a synchronous response.")
    kept.cancel()
    return kept.told()


def _inputs(model: FakeModel, wish: Wish) -> bytes:
    return _page(model.shelf.answer(wish.names[0]).input, wish)


def _begin_talk(model: FakeModel, wish: Wish) -> bytes:
    request = wish.request
    talk = Talk(
        id=fresh_id("conv"),
        created=int(time.time()),
        metadata=request.get("metadata") or {},
        items=items_of(request.get("items") or []),
    )
    model.shelf.talks[talk.id] = talk
    return talk.told()


def _talk(model: FakeModel, wish: Wish) -> bytes:
    return model.shelf.talk(wish.names[0]).told()


def _change_talk(model: FakeModel, wish: Wish) -> bytes:
    talk = model.shelf.talk(wish.names[0])
    talk.metadata = wish.request.get("metadata") or {}
    return talk.told()


def _delete_talk(model: FakeModel, wish: Wish) -> bytes:
    name = model.shelf.talk(wish.names[0]).id
    model.expire(name)
    return orjson.dumps({"id": name, "object": "conversation.deleted", "deleted": True})


def _items(model: FakeModel, wish: Wish) -> bytes:
    return _page(model.shelf.talk(wish.names[0]).items, wish)


def _add_items(model: FakeModel, wish: Wish) -> bytes:
    talk, added = model.shelf.talk(wish.names[0]), items_of(wish.request.get("items"))
    talk.items += added
    return _list(added, has_more=False)


def _item(model: FakeModel, wish: Wish) -> bytes:
    return orjson.dumps(_found(model.shelf.talk(wish.names[0]), wish.names[2]))


def _delete_item(model: FakeModel, wish: Wish) -> bytes:
    talk = model.shelf.talk(wish.names[0])
    talk.items.remove(_found(talk, wish.names[2]))
    return talk.told()


def _found(talk: Talk, name: str) -> Item:
    for item in talk.items:
        if item["id"] == name:
            return item
    raise Wrong(f"Item with id '{name}' not found.", status=404)


def _page(items: list[Item], wish: Wish) -> bytes:
    listed = items if wish.asks("order") == "asc" else items[::-1]
    if after := wish.asks("after"):
        places = [place for place, item in enumerate(listed) if item["id"] == after]
        listed = listed[places[0] + 1 :] if places else []
    most = min(int(wish.asks("limit") or _PAGE), _LONGEST_PAGE)
    return _list(listed[:most], has_more=len(listed) > most)


def _list(items: list[Item], *, has_more: bool) -> bytes:
    ends = {"first_id": items[0]["id"], "last_id": items[-1]["id"]} if items else dict.fromkeys(_ENDS)
    return orjson.dumps({"object": "list", "data": items, "has_more": has_more, **ends})


_Act: TypeAlias = Callable[[FakeModel, Wish], bytes]

_ENDS: Final = ("first_id", "last_id")
_MODEL: Final[dict[str, Any]] = {"id": MODEL, "object": "model", "created": 1, "owned_by": "fake"}
_ROUTES: Final[Mapping[tuple[str, str, int], _Act]] = {
    ("GET", "__stats", 0): _stats,
    ("POST", "__control", 0): _control,
    ("GET", "models", 0): _models,
    ("GET", "models", 1): _one_model,
    ("POST", "embeddings", 0): _embed,
    ("DELETE", "responses", 1): _delete_answer,
    ("POST", "responses", 2): _cancel,
    ("GET", "responses", 2): _inputs,
    ("POST", "conversations", 0): _begin_talk,
    ("GET", "conversations", 1): _talk,
    ("POST", "conversations", 1): _change_talk,
    ("DELETE", "conversations", 1): _delete_talk,
    ("GET", "conversations", 2): _items,
    ("POST", "conversations", 2): _add_items,
    ("GET", "conversations", 3): _item,
    ("DELETE", "conversations", 3): _delete_item,
}
