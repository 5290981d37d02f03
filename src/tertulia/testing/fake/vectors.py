"""OpenAI's embeddings: vectors of length one, near each other for texts that share words."""

import math
import struct
from base64 import b64encode
from functools import lru_cache
from hashlib import sha256
from typing import Final

import orjson

from tertulia.testing.fake import checking
from tertulia.testing.fake.said import MODEL, tokens_of
from tertulia.testing.fake.sent import Wrong
from tertulia.testing.fake.wire import Request

_KNOWN: Final = frozenset({"dimensions", "encoding_format", "input", "model", "user"})
_DIMENSIONS: Final = 1536
_MOST: Final = 2048
_SPREAD: Final = 8
"""Numbers of a vector that one word moves."""


def check_embedding(request: Request) -> None:
    """Raise ``Wrong`` for what OpenAI's server would refuse."""
    checking.check_settings(request, known=_KNOWN, needed=("input",))
    checking.check_choice(request.get("encoding_format", "float"), ("float", "base64"), "encoding_format")
    texts = texts_of(request)
    if not texts or not all(texts):
        raise Wrong("Invalid 'input': input cannot be an empty string.", param="input")
    if len(texts) > _MOST:
        raise Wrong(
            f"Invalid 'input': array too long. Expected an array with maximum length {_MOST},"
            f" but got an array with length {len(texts)} instead.",
            param="input",
            code="array_above_max_length",
        )


def embeddings(request: Request) -> bytes:
    """Return the vectors of all texts of a request, as JSON."""
    texts, size = texts_of(request), int(request.get("dimensions") or _DIMENSIONS)
    vectors = [vector_of(text, size) for text in texts]
    is_packed = request.get("encoding_format") == "base64"
    found = [
        {
            "object": "embedding",
            "index": index,
            "embedding": b64encode(struct.pack(f"<{size}f", *vector)).decode() if is_packed else vector,
        }
        for index, vector in enumerate(vectors)
    ]
    cost = sum(map(tokens_of, texts))
    used = {"prompt_tokens": cost, "total_tokens": cost}
    return orjson.dumps(
        {"object": "list", "data": found, "model": request.get("model", MODEL), "usage": used}
    )


def texts_of(request: Request) -> list[str]:
    """Return what is to be embedded; tokens that were counted out by the client stand for words."""
    given = request.get("input")
    if isinstance(given, list) and given and all(isinstance(token, int) for token in given):
        given = [given]
    many = given if isinstance(given, list) else [given]
    return [each if isinstance(each, str) else " ".join(map(str, each or ())) for each in many]


@lru_cache(maxsize=4096)
def vector_of(text: str, size: int = _DIMENSIONS) -> tuple[float, ...]:
    """Return the vector of a text, always the same."""
    vector = [0.0] * size
    for word in (*text.lower().split(), text):
        digest = sha256(word.encode("utf-8", "replace")).digest()
        for place in range(_SPREAD):
            at = int.from_bytes(digest[3 * place : 3 * place + 3], "big")
            vector[at % size] += 1.0 if digest[31 - place] & 1 else -1.0
    length = math.hypot(*vector)
    if not length:
        # All that was added has been taken away again, as may happen where there is little room.
        return (1.0, *[0.0] * (size - 1))
    return tuple(number / length for number in vector)
