"""The models of one installation: opened when first asked for, then shared."""

from typing import TypeAlias

from tertulia.llms.base import LLM
from tertulia.llms.naming import DEFAULT_OPTIONS, bare_llm, open_chain, split_chain, split_name
from tertulia.llms.options import LLMOptions

ModelNames: TypeAlias = str | tuple[str, ...] | None
"""``provider:model``, or several that stand in for one another, or ``None`` for the default."""


class Models:
    """Gives models by name; agents that name none get the default.

    The default may be several names with commas between them, each standing in for the one before.
    """

    def __init__(self, default: str, *, options: LLMOptions = DEFAULT_OPTIONS) -> None:
        self.default = default
        self.options = options
        self._plugs: dict[str, LLM] = {}
        self._open: dict[ModelNames, LLM] = {}

    def names(self, wanted: ModelNames) -> tuple[str, ...]:
        """Return the names of the models that are meant, in the order in which they are asked."""
        if not wanted:
            return split_chain(self.default)
        return (wanted,) if isinstance(wanted, str) else wanted

    def get(self, wanted: ModelNames) -> LLM:
        """Return the model of this name, or of these; raises :class:`~tertulia.errors.UnknownModel`."""
        llm = self._open.get(wanted)
        if llm is None:
            plugs = [self._plug(name) for name in self.names(wanted)]
            llm = self._open[wanted] = open_chain(plugs, options=self.options)
        return llm

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
        for plug in self._plugs.values():
            await plug.close()
        self._plugs.clear()
        self._open.clear()

    def _plug(self, name: str) -> LLM:
        """Return the plug of this name, which all chains share."""
        plug = self._plugs.get(name)
        if plug is None:
            plug = self._plugs[name] = bare_llm(name, options=self.options)
        return plug
