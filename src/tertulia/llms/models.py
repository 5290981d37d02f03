"""The models of one installation: opened when first asked for, then shared."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, TypeAlias

from tertulia.llms.base import LLM
from tertulia.llms.lent import Lent
from tertulia.llms.naming import DEFAULT_OPTIONS, bare_llm, open_chain, split_chain, split_name
from tertulia.llms.options import LLMOptions
from tertulia.llms.owned import OwnedTasks

MOST_OPEN: Final = 64
"""Models and chains that are kept open."""
_GOODBYE_SECONDS: Final = 5.0

ModelNames: TypeAlias = str | tuple[str, ...] | None
"""``provider:model``, or several that stand in for one another, or ``None`` for the default."""


class Models:
    """Gives models by name; agents that name none get the default.

    The default may be several names with commas between them, each standing in for the one before.
    Those asked for least lately are let go of when there are too many; whoever is being answered by
    one hears it out.
    """

    def __init__(self, default: str, *, options: LLMOptions = DEFAULT_OPTIONS) -> None:
        self.default = default
        self.options = options
        self._plugs: dict[str, Lent] = {}
        self._open: OrderedDict[ModelNames, _Open] = OrderedDict()
        self._tasks = OwnedTasks()

    def names(self, wanted: ModelNames) -> tuple[str, ...]:
        """Return the names of the models that are meant, in the order in which they are asked."""
        if not wanted:
            return split_chain(self.default)
        return (wanted,) if isinstance(wanted, str) else wanted

    def get(self, wanted: ModelNames) -> LLM:
        """Return the model of this name, or of these; raises :class:`~tertulia.errors.UnknownModel`."""
        found = self._open.get(wanted)
        if found is None:
            names = self.names(wanted)
            llm = open_chain([self._plug(name) for name in names], options=self.options)
            found = self._open[wanted] = _Open(llm, names)
            self._let_go()
        self._open.move_to_end(wanted)
        return found.llm

    def check(self, wanted: ModelNames) -> None:
        """Raise ``UnknownModel`` unless there can be models of these names; nothing is started.

        Of the default only the providers are looked at, so that their plugs need not be there yet.
        """
        if wanted is None:
            for name in self.names(None):
                split_name(name)
        else:
            for name in (wanted,) if isinstance(wanted, str) else wanted:
                bare_llm(name, options=self.options)

    async def close(self) -> None:
        """Let go of all of them."""
        for plug in list(self._plugs.values()):  # while one is closed, others may be asked for
            await plug.close()
        await self._tasks.finish(within_seconds=_GOODBYE_SECONDS)
        self._plugs.clear()
        self._open.clear()

    def _plug(self, name: str) -> Lent:
        """Return the plug of this name, which all chains share."""
        plug = self._plugs.get(name)
        if plug is None:
            plug = self._plugs[name] = Lent(bare_llm(name, options=self.options), owner=self._tasks)
        return plug

    def _let_go(self) -> None:
        """Forget what was not asked for in a long time, and the plugs that no chain is left for."""
        while len(self._open) > MOST_OPEN:
            self._open.popitem(last=False)
        kept = {name for each in self._open.values() for name in each.names}
        for name in self._plugs.keys() - kept:
            self._plugs.pop(name).retire()


@dataclass(frozen=True, slots=True)
class _Open:
    """A model or a chain, and the names of those in it."""

    llm: LLM
    names: tuple[str, ...]
