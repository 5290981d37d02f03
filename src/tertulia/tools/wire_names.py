"""Names under which models know the tools of a server."""

import re
from hashlib import blake2b
from typing import Final

_LONGEST: Final = 64
_STRANGE: Final = re.compile(r"[^A-Za-z0-9_-]")


def wire_name(label: str, name: str) -> str:
    """Return ``label__name`` as every provider takes it; different names stay different.

    What providers do not take becomes ``_``; a name that was changed by this, or by being cut to 64
    characters, ends with a few characters that tell it from others which look the same now.
    """
    whole = f"{label}__{name}"
    plain = _STRANGE.sub("_", whole)
    if plain == whole and len(whole) <= _LONGEST:
        return whole
    mark = blake2b(whole.encode("utf-8", "replace"), digest_size=3).hexdigest()
    return f"{plain[: _LONGEST - len(mark) - 1]}_{mark}"
