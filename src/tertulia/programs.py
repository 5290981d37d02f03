"""Agents that were written in Python: found in modules, and carried out on the store of a server."""

import inspect
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Final, Self, TypeAlias

from tertulia.agent.agent import Agent
from tertulia.agent.hosting import registered
from tertulia.agent.performing import ProgramPerformer
from tertulia.agent_settings import RunLimits
from tertulia.conversations import DEFAULT_TENANT
from tertulia.definitions import AgentDefinition
from tertulia.errors import InvalidInput, NotFound
from tertulia.llms.models import Models
from tertulia.stores import Store
from tertulia.stores.sql.urls import path_of
from tertulia.tools.loading import names_in

Servable: TypeAlias = Agent
"""What can be served of a program."""

_LOG: Final = logging.getLogger(__name__)
_ASKED: Final = "agents to serve"
_WANTED: Final = "an Agent, a list or a dict of agents, or a function without arguments that returns them"
_SQLITE: Final = "sqlite:"
_SHORT: Final = "postgres:"
_LONG: Final = "postgresql:"


class Programs:
    """Agents of a program, which a server carries out on its own store, beside those stored over HTTP.

    What an agent knows of stores itself does not count there: its sessions are the server's conversations.
    """

    def __init__(self, agents: Iterable[Servable]) -> None:
        """Raises :class:`InvalidInput` for agents without a name, and for two of one name."""
        # One may be named twice: by itself, and by a list that it is in.
        self._agents = tuple({id(agent): agent for agent in agents}.values())
        _check_names(self._agents)

    @classmethod
    def found(cls, named: str, beside: Iterable[Servable] = ()) -> Self:
        """Return the agents that texts like ``module:name`` lead to, parted by commas, and those beside.

        What is there may be an agent, a list, tuple or dict of agents, or a function without arguments
        that returns them; without a name all agents of the module are taken. Raises
        :class:`InvalidInput`, saying what to mend.
        """
        names = [name.strip() for name in named.split(",") if name.strip()]
        found = [_named(agent, place) for name in names for place, agent in _agents_at(name).items()]
        return cls([*found, *beside])

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the agents."""
        return tuple(agent.name for agent in self._agents)

    def performers(self, store: Store, models: Models, *, limits: RunLimits) -> dict[str, ProgramPerformer]:
        """Return who carries out their runs on this store, by the name that runs and definitions tell.

        Models that agents only name are these; ``limits`` are those of any run there.
        """
        parts = (replace(agent.parts, models=models, limits=limits) for agent in self._agents)
        return {each.performer: ProgramPerformer(each, store) for each in parts}

    async def register(self, store: Store, *, url: str) -> None:
        """Store what can be stored of them, so that requests find them; the store is at this URL.

        An agent that was there under one of the names is from now on what the program says, and keeps its
        conversations; a warning is logged if it was made otherwise before, over HTTP for example. So is
        one for an agent that names a store of its own: it is not served there.
        """
        for agent in self._agents:
            if _is_elsewhere(agent.parts.histories.store, here=store, url=url):
                _LOG.warning(
                    "the agent %r names a store of its own; served here, its sessions are in the server's",
                    agent.name,
                )
            await _register(store, agent.definition)

    async def close(self) -> None:
        """Let go of what they have opened: all of them, also if one of them cannot."""
        async with AsyncExitStack() as closing:
            for agent in self._agents:
                closing.push_async_callback(agent.close)


def _check_names(agents: Sequence[Agent]) -> None:
    known: set[str] = set()
    for agent in agents:
        _named(agent)
        if agent.name in known:
            raise InvalidInput(
                f"{_ASKED}: two agents are named {agent.name!r}; give one of them another name"
            )
        known.add(agent.name)


def _named(agent: Agent, place: str = "") -> Agent:
    """Return an agent that has a name; ``place`` is where it was found."""
    if not agent.is_named:
        where = f", and the one at {place} has none" if place else ""
        raise InvalidInput(
            f"{_ASKED}: an agent needs a name to be found by{where}: Agent(…, name={_wanted(place)!r})"
        )
    return agent


def _wanted(place: str) -> str:
    """Return what an agent could be called: as what holds it, if that is a variable."""
    variable = place.rpartition(":")[2]
    return variable if variable.isidentifier() else "chef"


def _check_module(module: str) -> None:
    is_one = all(part.isidentifier() for part in module.split("."))
    if not is_one or Path(module).is_file():  # kitchen.py would be a module "py" in a package
        path = PurePath(module)
        folder = "" if path.parent == PurePath() else f", started in the folder {str(path.parent)!r}"
        hint = f" (here: {path.stem}{folder})" if path.stem.isidentifier() else ""
        raise InvalidInput(
            f"{_ASKED}: {module!r} is no name of a module; give it as `import` would{hint}, "
            "as in kitchen or kitchen:chef"
        )


def _agents_at(name: str) -> Mapping[str, Agent]:
    """Return the agents that a name leads to, by where each was found."""
    module, _, attribute = name.partition(":")
    _check_module(module)
    there = names_in(module, of=_ASKED)
    if not attribute:
        public = {f"{module}:{key}": value for key, value in there.items() if not key.startswith("_")}
        found = {place: value for place, value in public.items() if isinstance(value, Agent)}
        if not found:
            raise InvalidInput(f"{_ASKED}: there are no agents in the module {module!r}; name {_WANTED}")
        return found
    if attribute not in there:
        raise InvalidInput(f"{_ASKED}: there is no {attribute!r} in the module {module!r}")
    value = there[attribute]
    return _agents_in(value if _is_known(value) else _made(value, name), name)


def _is_known(value: object) -> bool:
    return isinstance(value, Agent | list | tuple | Mapping) or not callable(value)


def _made(make: object, name: str) -> object:
    """Return what a function makes."""
    try:
        made = make() if callable(make) else make
    except Exception as error:
        raise InvalidInput(f"{_ASKED}: calling {name!r} fails ({type(error).__name__}: {error})") from error
    if inspect.iscoroutine(made):
        made.close()
        raise InvalidInput(f"{_ASKED}: {name!r} must not be async; let it return its agents at once")
    return made


def _agents_in(value: object, name: str) -> Mapping[str, Agent]:
    if isinstance(value, Agent):
        return {name: value}
    keyed = dict(enumerate(value)) if isinstance(value, list | tuple) else value
    if not isinstance(keyed, Mapping):
        raise InvalidInput(f"{_ASKED}: {name!r} is {_kind(keyed)}, and should be {_WANTED}")
    found = {f"{name}[{key!r}]": each for key, each in keyed.items()}
    for each in found.values():
        if not isinstance(each, Agent):
            raise InvalidInput(f"{_ASKED}: {name!r} holds {_kind(each)}, which is no agent")
    if not found:
        raise InvalidInput(f"{_ASKED}: {name!r} holds no agent")
    return found


def _kind(value: object) -> str:
    return f"an object of type {type(value).__name__}"


async def _register(store: Store, definition: AgentDefinition) -> None:
    before = None
    with suppress(NotFound):
        before = await store.agents.get(DEFAULT_TENANT, definition.name)
    now = await registered(store, definition)
    if before is not None and before.definition.program != now.definition.program:
        _LOG.warning(
            "the agent %r was there, made otherwise; from version %d on it is what the program says",
            definition.name,
            now.version,
        )


def _is_elsewhere(store: str | Store | None, *, here: Store, url: str) -> bool:
    """Whether an agent names another store than the one that is at this URL."""
    if not store:
        return False
    return _place(store) != _place(url) if isinstance(store, str) else store is not here


def _place(url: str) -> str:
    if url.startswith(_SQLITE):
        return str(path_of(url).absolute())
    return url.replace(_SHORT, _LONG, 1)
