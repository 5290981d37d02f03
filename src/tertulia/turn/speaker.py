"""An agent as it takes a turn: its texts, its model, its tools, and how far it may go."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

import orjson

from tertulia.agent_settings import ModelSettings, RunLimits
from tertulia.definitions import StoredAgent, ToolSpec
from tertulia.llms.base import LLM, Shown
from tertulia.memory.context.base import ContextProvider
from tertulia.memory.history.base import HistoryProvider
from tertulia.memory.history.service import LinkedHistory
from tertulia.memory.states import States
from tertulia.memory.tokens import MESSAGE_TOKENS, estimate
from tertulia.memory.views.log import Log
from tertulia.shapes import Shape, parse_shape
from tertulia.tools.base import Tool

_ANSWER_SHARE: Final = 4
_ANSWER_TOKENS: Final = 512
_RESERVE_SHARE: Final = 4
_REMEMBERED_SECONDS: Final = 3600.0


class Windows:
    """How many tokens each model was found to take, by our estimate, where it was given more.

    Estimates may be too low for a text or a vocabulary, and a provider may not say how large its
    window is. What one call has learnt, the next need not find out again; after an hour it is
    forgotten, since it was learnt from one text and holds for all.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._learnt: dict[str, tuple[int, float]] = {}
        self._clock = clock

    def bound(self, llm: LLM, tokens: int) -> int:
        """Return ``tokens``, or fewer if this model has refused as many."""
        if not self._learnt:
            return tokens
        learnt, until = self._learnt.get(llm.name, (tokens, 0.0))
        return min(tokens, learnt) if self._clock() < until else tokens

    def learn(self, llm: LLM, tokens: int) -> None:
        """Note that this model took ``tokens`` after it had refused more."""
        self._learnt[llm.name] = (tokens, self._clock() + _REMEMBERED_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What stands beside an agent and its model: where else it is kept what was said, and what is known."""

    context_providers: tuple[ContextProvider, ...] = ()
    histories: tuple[HistoryProvider, ...] = ()
    """Those that are told what was said, whether or not they are read."""
    states: States
    log: Log


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """An agent as it takes a turn."""

    agent: StoredAgent
    llm: LLM
    settings: ModelSettings
    """The agent's, with the run's own laid over them."""
    context_tokens: int
    """Tokens that it is shown at most."""
    call_seconds: float
    """How long a call of the model may take, if the settings do not say."""
    windows: Windows
    tools: Mapping[str, Tool] = field(default_factory=dict)
    """What it can use, by the name that the model knows."""
    limits: RunLimits = field(default_factory=RunLimits)
    wants_deltas: bool = True
    check: Callable[[str], None] | None = None
    """Raises :class:`~tertulia.errors.ShapeMismatch` for an answer that has the response shape and is
    wrong nevertheless, which no schema can say."""
    service: LinkedHistory | None = None
    """How the model's service keeps the history itself, if it does."""
    beside: Beside | None = None
    """What else is asked and told in a run, if there is anything."""

    @property
    def name(self) -> str:
        """The agent's."""
        return self.agent.definition.name

    @property
    def log(self) -> Log | None:
        """What was said in all conversations, where anybody beside it keeps that as well."""
        if self.service is not None:
            return self.service.log
        return None if self.beside is None else self.beside.log

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """What the model is told of the tools."""
        return tuple(tool.spec for tool in self.tools.values())

    @property
    def spec_tokens(self) -> int:
        """Estimated tokens of what the model is told of the tools."""
        return sum(_spec_tokens(spec) for spec in self.specs)

    @property
    def reserve(self) -> int:
        """Tokens of a prompt that are left to context providers, whatever they have to tell.

        So the conversation is shown from the same place on, however much that is.
        """
        if self.beside is None or not self.beside.context_providers:
            return 0
        return self.whole_room // _RESERVE_SHARE

    @property
    def whole_room(self) -> int:
        """The tokens that a prompt may have, the answer's own left free where the window is known."""
        window = self.llm.window
        if window is None:
            return self.context_tokens
        answer = min(self.settings.max_tokens or _ANSWER_TOKENS, window // _ANSWER_SHARE)
        return min(self.context_tokens, window - answer)

    @property
    def room(self) -> int:
        """The same, or less if this model was found to take less."""
        return self.windows.bound(self.llm, self.whole_room)


def _spec_tokens(spec: ToolSpec) -> int:
    parameters = orjson.dumps(spec.parameters, default=dict).decode()
    return estimate(spec.name) + estimate(spec.description) + estimate(parameters) + MESSAGE_TOKENS


@dataclass(frozen=True, slots=True)
class Persona:
    """What a model is always shown of an agent."""

    opening: tuple[Shown, ...]
    own_tokens: int
    """Estimated, of the agent's own texts in the opening."""
    shape: Shape | None

    @property
    def system(self) -> str:
        """What the opening says as the system."""
        return "\n\n".join(shown.text for shown in self.opening if shown.role == "system")

    @property
    def spoken(self) -> tuple[Shown, ...]:
        """What the agent has said itself, to open with."""
        return tuple(shown for shown in self.opening if shown.role != "system")


@lru_cache(maxsize=1024)
def persona(agent: StoredAgent, first_message: str) -> Persona:
    """Return what a model is always shown of an agent in a conversation that opened with this message."""
    opening = _opening(agent, first_message, ())
    own_tokens = sum(estimate(shown.text) + MESSAGE_TOKENS for shown in opening)
    return Persona(opening, own_tokens, parse_shape(agent.definition.response_shape))


def instructed(agent: StoredAgent, first_message: str, instructions: tuple[str, ...]) -> Persona:
    """Return the same with the instructions of one run, which are not kept in mind."""
    known = persona(agent, first_message)
    return replace(known, opening=_opening(agent, first_message, instructions)) if instructions else known


def _opening(agent: StoredAgent, first_message: str, instructions: tuple[str, ...]) -> tuple[Shown, ...]:
    definition = agent.definition
    shape = parse_shape(definition.response_shape)
    rule = shape.rule if shape else ""
    system = _joined((definition.context, definition.instructions, *instructions, rule))
    opening = []
    if system:
        opening.append(Shown(role="system", text=system))
    if first_message:
        opening.append(Shown(role="assistant", text=first_message))
    return tuple(opening)


def _joined(texts: Sequence[str]) -> str:
    return "\n\n".join(text for text in texts if text.strip())
