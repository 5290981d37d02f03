"""Tools in a turn: each use is a step of its own, approved where asked for, and not repeated unasked."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import orjson

from tertulia.engine.active import ActiveRun
from tertulia.engine.turns import Decision, Plan, StepResult
from tertulia.errors import ToolError
from tertulia.events import ToolCalled, ToolFinished
from tertulia.memory.shortening import shortened
from tertulia.messages import clean_text
from tertulia.parts import ToolCall, ToolResult
from tertulia.tools.arguments import parse_arguments
from tertulia.tools.base import MAX_OUTPUT, Tool, ToolContext
from tertulia.tools.using import use
from tertulia.turn.limits import check_limits, seconds_left, steps_left
from tertulia.turn.speaker import Speaker
from tertulia.usage import Usage

KIND: Final = "tool"
"""Kind of the steps that use a tool."""
MAX_CALLS: Final = 32
"""Uses of tools that one answer may ask for; more are refused."""
_AT_ONCE: Final = 8
_GRACE_SECONDS: Final = 5.0
_OURS: Final = 1
"""Marks what a tool has given, other than what somebody has stated who looked."""


@dataclass(frozen=True, slots=True)
class _Use:
    """A call in its place."""

    call: ToolCall
    path: str
    tool: Tool | None


class Tooling:
    """The tools that one answer of a turn asks for."""

    def __init__(
        self, run: ActiveRun, speaker: Speaker, calls: Sequence[ToolCall], *, turn: int, path: str
    ) -> None:
        self._run, self._speaker, self._turn = run, speaker, turn
        self._uses = [
            _Use(call, f"{path}/{place}", speaker.tools.get(call.name)) for place, call in enumerate(calls, 1)
        ]
        self._refused: dict[str, str] = {}
        """Why it is not used, by the path of the use."""
        self._given: dict[str, ToolResult] = {}
        """What came of it, as it was journaled or stated by somebody, by the path of the use."""

    @property
    def has_done(self) -> bool:
        """Whether anything was used by now, or may have been."""
        return any(self._run.journal.knows(each.path) for each in self._uses)

    @property
    def finished(self) -> list[ToolResult]:
        """What is known by now of what came of it, in the order of the calls."""
        found = (self._known(use) for use in self._uses)
        return [result for result in found if result is not None]

    async def use_all(self) -> list[ToolResult]:
        """Use the tools, side by side, and return their results in the order of the calls.

        Those that need it are approved first, one after the other; while somebody has to decide, the
        run waits and nothing of this answer is used. A use that cannot go on does not cut short the
        others. Raises what :meth:`ActiveRun.step` raises, several at once as a group.
        """
        for each in self._uses:
            self._tell(each.call)
        self._keep_to_the_limits()
        for each in self._uses:
            self._have_approved(each)
        few = asyncio.Semaphore(_AT_ONCE)
        outcomes = await asyncio.gather(
            *(self._use(each, few) for each in self._uses), return_exceptions=True
        )
        _raise(outcomes)
        return [outcome for outcome in outcomes if isinstance(outcome, ToolResult)]

    def _keep_to_the_limits(self) -> None:
        """Refuse what goes beyond the limits of the run; raise if nothing at all may be done any more."""
        for each in self._uses[MAX_CALLS:]:
            self._refused[each.path] = f"Not used: no more than {MAX_CALLS} tools can be used at a time."
        new = [each for each in self._uses[:MAX_CALLS] if not self._run.journal.knows(each.path)]
        left = steps_left(self._run, self._speaker.limits)
        for each in () if left is None else new[left:]:
            self._refused[each.path] = "Not used: the run may take no further steps."
        if new:
            check_limits(self._run, self._speaker.limits, new[0].path)

    def _have_approved(self, each: _Use) -> None:
        """Wait for somebody's decision about a use, if it needs one and could go on with it."""
        if each.tool is None or not each.tool.rules.needs_approval or each.path in self._refused:
            return
        if self._run.journal.knows(each.path) or not _can_be_used(each.call, each.tool):
            return
        call = each.call
        decision = self._run.ask(
            f"{each.path}/approval",
            kind="approval",
            message=f"{self._speaker.name} wants to use {call.name}",
            subject=_subject(call),
        )
        if decision.verdict != "approve":
            self._refused[each.path] = _denied(decision)

    async def _use(self, each: _Use, few: asyncio.Semaphore) -> ToolResult:
        async with few:
            result = self._not_used(each) or await self._used(each)
        self._run.emit(
            ToolFinished(
                turn=self._turn,
                author=self._speaker.name,
                call_id=result.call_id,
                name=result.name,
                text=result.text,
                is_error=result.is_error,
            )
        )
        return result

    async def _used(self, each: _Use) -> ToolResult:
        async def work() -> StepResult:
            used = await self._result_of_using(each)
            kept = {"v": _OURS, "text": used.text, "is_error": used.is_error}
            return StepResult(output=orjson.dumps(kept).decode(), usage=Usage(tool_calls=1))

        kept = await self._run.step(each.path, work, _plan(each))
        result = self._given[each.path] = _result(each.call, kept.output)
        return result

    async def _result_of_using(self, each: _Use) -> ToolResult:
        call, left = each.call, seconds_left(self._run, self._speaker.limits)
        if each.tool is None:
            known = ", ".join(sorted(self._speaker.tools)) or "none"
            return _error(call, f"There is no tool of this name. The tools are: {known}.")
        try:
            return await use(each.tool, call, self._context(each.path), within_seconds=left)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return _error(call, "The tool was cut off from within.")  # and nobody else has cancelled it

    def _not_used(self, each: _Use) -> ToolResult | None:
        refusal = self._refused.get(each.path)
        return None if refusal is None else _error(each.call, refusal)

    def _known(self, each: _Use) -> ToolResult | None:
        if each.path in self._given:
            return self._given[each.path]
        output = self._run.journal.output(each.path)
        return self._not_used(each) if output is None else _result(each.call, output)

    def _context(self, path: str) -> ToolContext:
        run, conversation = self._run.run, self._run.conversation
        return ToolContext(
            key=f"{run.id}:{path}",
            run_id=run.id,
            conversation_id=conversation.id,
            agent=self._speaker.name,
            user_id=conversation.user_id,
            tenant=conversation.tenant,
        )

    def _tell(self, call: ToolCall) -> None:
        self._run.emit(
            ToolCalled(
                turn=self._turn,
                author=self._speaker.name,
                call_id=call.id,
                name=call.name,
                arguments=call.arguments,
            )
        )


def _raise(outcomes: Sequence[ToolResult | BaseException]) -> None:
    """Raise what the uses have raised, if anything."""
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
            raise outcome
    raised = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    if len(raised) == 1:
        raise raised[0]
    if raised:
        raise ExceptionGroup("several uses of tools cannot go on", raised)


def _can_be_used(call: ToolCall, tool: Tool) -> bool:
    """Whether its arguments are such that a person need be asked at all."""
    try:
        parse_arguments(call.arguments, tool.spec)
    except ToolError:
        return False
    return True


def _plan(each: _Use) -> Plan:
    identity = sha256(f"{KIND}\n{each.call.name}\n{each.call.arguments}".encode()).digest()
    if each.tool is None:
        return Plan(kind=KIND, identity=identity, within_seconds=_GRACE_SECONDS, subject=_subject(each.call))
    rules = each.tool.rules
    return Plan(
        kind=KIND,
        identity=identity,
        within_seconds=rules.within_seconds + _GRACE_SECONDS,
        has_effect=not rules.is_idempotent,
        on_unknown=rules.on_unknown,
        subject=_subject(each.call),
    )


def _subject(call: ToolCall) -> str:
    return orjson.dumps({"tool": call.name, "call_id": call.id, "arguments": call.arguments}).decode()


def _result(call: ToolCall, output: str) -> ToolResult:
    """Return a result as it was kept, or as somebody has stated it who knew what came of it."""
    kept = orjson.loads(output)
    if isinstance(kept, dict) and kept.get("v") == _OURS and isinstance(kept.get("text"), str):
        is_error = kept.get("is_error") is True
        return ToolResult(call_id=call.id, name=call.name, text=kept["text"], is_error=is_error)
    if kept is None:
        kept = "It was done; its result is not known."
    text = kept if isinstance(kept, str) else orjson.dumps(kept).decode()
    return shortened(ToolResult(call_id=call.id, name=call.name, text=clean_text(text)), MAX_OUTPUT)


def _error(call: ToolCall, text: str) -> ToolResult:
    return ToolResult(call_id=call.id, name=call.name, text=text, is_error=True)


def _denied(decision: Decision) -> str:
    told = "A person has not allowed this use of the tool"
    if not isinstance(decision.value, str) or not decision.value.strip():
        return f"{told}."
    return f"{told}: {clean_text(decision.value)[:MAX_OUTPUT]}"
