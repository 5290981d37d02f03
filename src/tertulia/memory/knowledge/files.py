"""Documents as files: one, or all that are in a folder."""

from collections.abc import Iterator
from pathlib import Path

from tertulia.errors import InvalidInput
from tertulia.memory.knowledge.limits import ReadingLimits
from tertulia.memory.knowledge.readers import media_type_of


def content_of(path: Path, *, limits: ReadingLimits | None = None) -> bytes:
    """Return what is in a file; blocks, and raises ``InvalidInput`` if it cannot be read."""
    most = (limits or ReadingLimits()).max_bytes
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise InvalidInput(
            f"{path.name} cannot be read: {(error.strerror or 'it is no file').lower()}"
        ) from error
    if len(content) > most:
        raise InvalidInput(f"{path.name} is too large: a document has at most {most} bytes, so split it")
    return content


def documents_under(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the documents in a folder and those below it, by name, with their names from there; blocks.

    Hidden ones, those of kinds that are not known, and links that lead elsewhere are left out. Raises
    :class:`~tertulia.errors.InvalidInput` if it is no folder.
    """
    if not folder.is_dir():
        raise InvalidInput(f"{folder.name} is no folder")
    home = folder.resolve()
    for path in sorted(home.rglob("*")):
        name = path.relative_to(home)
        is_hidden = any(part.startswith(".") for part in name.parts)
        if is_hidden or not media_type_of(path.name) or not path.resolve().is_relative_to(home):
            continue
        if path.is_file():
            yield name.as_posix(), path
