"""Tools in a turn: each use is a step of its own, approved where that is asked for, and never done twice."""

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import orjson

from tertulia.engine.active import ActiveRun
from tertulia.engine.turns import Decision, Plan, StepResult
from tertulia.events import ToolCalled, ToolFinished
from tertulia.parts import ToolCall, ToolResult
from tertulia.tools.base import Tool, ToolContext
from tertulia.tools.using import use
from tertulia.turn.limits import check_limits
from tertulia.turn.speaker import Speaker
from tertulia.usage import Usage

KIND: Final = "tool"
"""Kind of the steps that use a tool."""
_GRACE_SECONDS: Final = 5.0
_SHOWN: Final = 500


class Tooling:
    """What an agent can use in one turn of a run."""

    def __init__(self, run: ActiveRun, speaker: Speaker, *, turn: int) -> None:
        self._run, self._speaker, self._turn = run, speaker, turn
        self.finished: list[ToolResult] = []
        """What was given so far, in the order in which it came."""

    async def use_all(self, calls: Sequence[ToolCall], *, path: str) -> list[ToolResult]:
        """Use the tools that one answer asks for, side by side, and return their results in its order.

        Those that need it are approved first, one after the other; while somebody has to decide, the
        run waits and nothing of this answer is used. A use that cannot go on does not cut short the
        others. Raises what :meth:`ActiveRun.step` raises.
        """
        places = [f"{path}/{place}" for place in range(1, len(calls) + 1)]
        for call in calls:
            self._tell(call)
        refused = {at: self._refusal(call, at) for call, at in zip(calls, places, strict=True)}
        outcomes = await asyncio.gather(
            *(self._use(call, at, refused[at]) for call, at in zip(calls, places, strict=True)),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return [outcome for outcome in outcomes if isinstance(outcome, ToolResult)]

    def _refusal(self, call: ToolCall, path: str) -> str | None:
        """Return why a person does not want a tool to be used; ``None`` if nobody minds."""
        tool = self._speaker.tools.get(call.name)
        if tool is None or not tool.rules.needs_approval:
            return None
        decision = self._run.ask(
            f"{path}/approval",
            kind="approval",
            message=f"{self._speaker.name} wants to use {call.name} with {_shortened(call.arguments)}",
            subject=orjson.dumps(
                {"tool": call.name, "call_id": call.id, "arguments": call.arguments}
            ).decode(),
        )
        return None if decision.verdict == "approve" else _denied(decision)

    async def _use(self, call: ToolCall, path: str, refusal: str | None) -> ToolResult:
        if refusal is None:
            result = await self._used(call, path)
        else:
            result = ToolResult(call_id=call.id, name=call.name, text=refusal, is_error=True)
        self.finished.append(result)
        self._run.emit(
            ToolFinished(
                turn=self._turn,
                author=self._speaker.name,
                call_id=call.id,
                name=call.name,
                text=result.text,
                is_error=result.is_error,
            )
        )
        return result

    async def _used(self, call: ToolCall, path: str) -> ToolResult:
        tool = self._speaker.tools.get(call.name)
        check_limits(self._run, self._speaker.limits, path)

        async def work() -> StepResult:
            if tool is None:
                used = _unknown(call, self._speaker)
            else:
                used = await use(tool, call, self._context(path))
            kept = {"v": 1, "text": used.text, "is_error": used.is_error}
            return StepResult(output=orjson.dumps(kept).decode(), usage=Usage(tool_calls=1))

        kept = await self._run.step(path, work, _plan(call, tool))
        return _result(call, kept.output)

    def _context(self, path: str) -> ToolContext:
        run = self._run
        return ToolContext(
            key=f"{run.run.id}:{path}",
            run_id=run.run.id,
            conversation_id=run.conversation.shown_id,
            agent=self._speaker.name,
            user_id=run.conversation.user_id,
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


def _plan(call: ToolCall, tool: Tool | None) -> Plan:
    identity = sha256(f"{KIND}\n{call.name}\n{call.arguments}".encode()).digest()
    if tool is None:
        return Plan(kind=KIND, identity=identity, within_seconds=_GRACE_SECONDS)
    return Plan(
        kind=KIND,
        identity=identity,
        within_seconds=tool.rules.within_seconds + _GRACE_SECONDS,
        has_effect=not tool.rules.is_idempotent,
        on_unknown=tool.rules.on_unknown,
    )


def _unknown(call: ToolCall, speaker: Speaker) -> ToolResult:
    known = ", ".join(sorted(speaker.tools)) or "none"
    text = f"There is no tool of this name. The tools are: {known}."
    return ToolResult(call_id=call.id, name=call.name, text=text, is_error=True)


def _result(call: ToolCall, output: str) -> ToolResult:
    """Return a result as it was kept, or as somebody has stated it who knew what came of it."""
    kept = orjson.loads(output)
    if isinstance(kept, dict) and isinstance(kept.get("text"), str):
        is_error = bool(kept.get("is_error"))
        return ToolResult(call_id=call.id, name=call.name, text=kept["text"], is_error=is_error)
    if kept is None:
        kept = "It was done; its result is not known."
    text = kept if isinstance(kept, str) else orjson.dumps(kept).decode()
    return ToolResult(call_id=call.id, name=call.name, text=text)


def _denied(decision: Decision) -> str:
    why = f": {decision.value}" if isinstance(decision.value, str) and decision.value.strip() else ""
    return f"A person has not allowed this use of the tool{why}"


def _shortened(arguments: str) -> str:
    return arguments if len(arguments) <= _SHOWN else f"{arguments[:_SHOWN]} …"
