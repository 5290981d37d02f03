"""Knowledge from documents: passages that fit what was said, quoted with their sources."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from typing_extensions import override

from tertulia.errors import InvalidInput, MissingExtra, NotFound
from tertulia.memory.context.base import RunContext
from tertulia.memory.context.building import BuildableContext, Means
from tertulia.memory.context.knowledge_store import Shelf
from tertulia.memory.context.knowledge_tool import SearchTool
from tertulia.memory.knowledge.files import content_of, documents_under
from tertulia.memory.knowledge.library import MAX_HITS, Hit, Library, check_collection
from tertulia.memory.knowledge.quoting import quoted
from tertulia.memory.sessions import ProviderRun
from tertulia.messages import check_text
from tertulia.stores import Store
from tertulia.stores.documents import Document

MAX_TOKENS: Final = 16_000
"""What can be asked for with one message at most."""
_TOLD: Final = 50
"""Documents that were left out of which the reason is told."""
_OPTIONS: Final[Mapping[str, type]] = {
    "collection": str,
    "top_k": int,
    "max_tokens": int,
    "as_tool": bool,
    "name": str,
}


class KnowledgeProvider(BuildableContext):
    """Finds passages of documents that fit each message, and shows them to the model for this run.

    ::

        handbook = KnowledgeProvider("handbook", store="sqlite:///knowledge.db")
        await handbook.add(Path("handbook.pdf"))
        agent = Agent("openai:gpt-5-mini", context_providers=[handbook])

    ``store`` is a URL, whose store is opened when it is needed, or a store that stays yours to open and
    to close; without one the documents live as long as this object. Of what fits, the ``top_k`` best
    passages are shown, in ``max_tokens`` tokens (estimated) at most; where nothing fits, nothing is.
    With ``as_tool`` the model is given a tool instead, ``search_<collection>``, and asks itself.
    """

    def __init__(  # noqa: PLR0913  # a public constructor
        self,
        collection: str = "default",
        *,
        store: str | Store | None = None,
        top_k: int = 5,
        max_tokens: int = 800,
        as_tool: bool = False,
        name: str | None = None,
        tenant: int = 0,
    ) -> None:
        """Raises :class:`~tertulia.errors.InvalidInput` for what cannot be meant."""
        if not 1 <= top_k <= MAX_HITS or not 1 <= max_tokens <= MAX_TOKENS:
            raise InvalidInput(f"top_k is 1 to {MAX_HITS}, max_tokens 1 to {MAX_TOKENS}")
        self._collection, self._as_tool = check_collection(collection), as_tool
        self._top_k, self._max_tokens = top_k, max_tokens
        self._name = name or f"{type(self).__name__}:{collection}"
        self._shelf, self._tenant = Shelf(store or "memory://"), tenant
        self._tool = SearchTool(collection, self._looked_up)

    @classmethod
    @override
    def build(cls, options: Mapping[str, Any], means: Means) -> Self:
        for option, value in options.items():
            kind = _OPTIONS.get(option)
            if kind is None:
                raise InvalidInput(f"knowledge has no {option[:50]!r}; there are: {', '.join(_OPTIONS)}")
            if type(value) is not kind:  # True is no number here
                raise InvalidInput(f"{option} of knowledge must be of the kind {kind.__name__}")
        return cls(**options, store=means.store, tenant=means.tenant)

    @property
    @override
    def name(self) -> str:
        return self._name

    async def add(
        self, source: Path | str | bytes, *, name: str | None = None, content_type: str = ""
    ) -> Document:
        """Take in a document: a file (a ``Path``), a text, or bytes; the latter two need a name.

        It takes the place of one with its name, by default that of the file; the same document again
        changes nothing. What kind it is, its name tells (``.md``, ``.html``, ``.pdf``; otherwise plain
        text), or ``content_type``. Raises :class:`~tertulia.errors.InvalidInput`, saying what to do,
        if it cannot be read, and :class:`~tertulia.errors.MissingExtra` for a PDF without its library.
        """
        library = await self._ready()
        content, called = await _given(source, name)
        kind = content_type or ("text/plain" if isinstance(source, str) else "")
        return await library.add(self._collection, called, content, content_type=kind)

    async def add_directory(self, folder: Path | str) -> list[Document]:
        """Take in all documents of kinds that we know in a folder and below it; return them.

        They are called as they are found from there: ``leave/parental.md``. One that cannot be read is
        left out and the others are taken in; what was left out, and why, tells the
        :class:`~tertulia.errors.InvalidInput` that is raised at the end then.
        """
        found = await asyncio.to_thread(lambda: [*documents_under(Path(folder))])
        taken: list[Document] = []
        left_out: list[str] = []
        for name, path in found:
            try:
                taken.append(await self.add(path, name=name))
            except (InvalidInput, MissingExtra) as error:
                told = str(error)
                left_out.append(told if told.startswith(f"{name}: ") else f"{name}: {told}")
        if left_out:
            told = "; ".join([*left_out[:_TOLD], *(["…"] if len(left_out) > _TOLD else [])])
            raise InvalidInput(
                f"{len(left_out)} of {len(found)} documents were left out, the others are taken in: {told}"
            )
        return taken

    async def list(self) -> "tuple[Document, ...]":
        """Return the documents of the collection, oldest first."""
        library = await self._ready()
        return tuple([document async for document in library.documents(self._collection)])

    async def remove(self, document: str) -> None:
        """Erase a document, by its name or id; raises :class:`~tertulia.errors.NotFound`."""
        library = await self._ready()
        async for found in library.documents(self._collection):
            if document in (found.id, found.name):
                await library.remove(found.id)
                return
        raise NotFound("there is no such document in this collection")

    async def search(self, query: str) -> "tuple[Hit, ...]":
        """Return the passages that fit best, best first; none if nothing fits."""
        library = await self._ready()
        return tuple(await library.search(self._collection, query, limit=self._top_k))

    @override
    async def before_run(self, run: ProviderRun) -> RunContext | None:
        if self._as_tool:
            return RunContext(tools=(self._tool,))
        found = await self._looked_up(run.input.text)
        return RunContext(messages=(found,)) if found else None

    @override
    async def close(self) -> None:
        await self._shelf.close()

    async def _looked_up(self, query: str) -> str:
        return quoted(self._collection, await self.search(query), max_tokens=self._max_tokens)

    async def _ready(self) -> Library:
        return Library((await self._shelf.store()).documents, tenant=self._tenant)


async def _given(source: Path | str | bytes, name: str | None) -> tuple[bytes, str]:
    """Return what was given as bytes, and what it is called."""
    if isinstance(source, Path):
        return await asyncio.to_thread(content_of, source), name or source.name
    if not name:
        raise InvalidInput("a text needs a name: add(text, name=…); a file is given as a Path: add(Path(…))")
    return (check_text(source, what=name).encode() if isinstance(source, str) else source), name
