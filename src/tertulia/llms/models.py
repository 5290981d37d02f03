"""The models of one installation: opened when first asked for, then shared."""

from tertulia.llms.base import LLM
from tertulia.llms.naming import DEFAULT_OPTIONS, bare_llm, open_llm, split_name
from tertulia.llms.options import LLMOptions


class Models:
    """Gives models by name; agents that name none get the default."""

    def __init__(self, default: str, *, options: LLMOptions = DEFAULT_OPTIONS) -> None:
        self.default = default
        self.options = options
        self._open: dict[str, LLM] = {}

    def get(self, name: str | None) -> LLM:
        """Return the model of this name; raises :class:`~tertulia.errors.UnknownModel`."""
        wanted = name or self.default
        llm = self._open.get(wanted)
        if llm is None:
            llm = self._open[wanted] = open_llm(wanted, options=self.options)
        return llm

    def check(self, name: str | None) -> None:
        """Raise ``UnknownModel`` unless there can be a model of this name; nothing is started.

        Of the default only the provider is looked at, so that its plug need not be there yet.
        """
        if name is None:
            split_name(self.default)
        else:
            bare_llm(name, options=self.options)

    async def close(self) -> None:
        """Let go of all of them."""
        for llm in self._open.values():
            await llm.close()
        self._open.clear()
