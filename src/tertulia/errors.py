"""Every error that Tertulia raises, in one tree; the text of each is safe to show to anyone.

::

    TertuliaError
    ├── InvalidInput            the request cannot be right as it stands
    │   ├── InvalidShape        a response shape that is no usable JSON Schema
    │   ├── AddressRefused      a URL that leads to where nobody outside may send us
    │   ├── UnknownModel        a model name that no plug answers to
    │   └── UnknownTool         a tool that this installation does not have
    ├── NotFound
    ├── Conflict
    │   ├── ConversationClosed  it has come to its end and was not opened again
    │   ├── ConversationBusy    reject was asked for and a run holds the conversation
    │   ├── ConversationMovedOn a failed run can no longer be repeated in its place
    │   ├── DuplicateName       an agent of this name exists
    │   ├── HeadMoved           expected_head is no longer the head
    │   ├── IdempotencyMismatch one key, two different requests
    │   ├── NotWaiting          a decision for a run that waits for none
    │   ├── SessionMismatch     a conversation or session belongs to another agent or user
    │   └── VersionMoved        expected_version is no longer the newest
    ├── ModelError              asking a language model did not give an answer
    │   ├── ModelBusy           it asked us to come back later (429, 503)
    │   ├── ModelTimeout        it took too long
    │   ├── ModelRefused        it understood, and will not (key, quota, unknown model, policy)
    │   ├── ModelUnreachable    no connection, or cut before the end
    │   ├── ModelMalformed      it answered something that is no answer
    │   ├── AnswerGone          an earlier answer, kept by the provider, is there no more
    │   └── ContextTooLong      the prompt does not fit its window
    ├── ToolError               a tool could not do what it was asked to
    │   └── ToolUnavailable     a server of tools cannot be reached
    ├── ProviderError           a history or context provider could not do what it was asked to
    ├── BudgetExceeded          a run has used up what it was allowed
    ├── ShapeMismatch           the answer never met the response shape
    ├── StoreError
    │   ├── StoreBusy           another writer kept the database too long
    │   └── StoreUnavailable    the database cannot be reached, or is not migrated
    │       └── OutcomeUnknown  it was lost while something was kept, or was not
    ├── RunFailed               a run ended without an answer
    │   ├── RunCancelled        it was asked to stop
    │   ├── RunTimedOut         it took longer than its caller wanted to wait
    │   ├── RunGivenUp          it has ended its process too often
    │   ├── NeedsAttention      somebody has to decide how it goes on
    │   │   └── UnknownOutcome  whether a step took effect before a crash is not known
    │   ├── StopRequested       it was asked to stop, and nothing but its end can be written
    │   └── LeaseLost           another process has taken the run over
    ├── NotAuthorized           who asks has not shown that this may be asked
    ├── NotServedHere           an agent is part of a program that this process does not have
    ├── Stopping                this process is about to end and takes nothing new
    └── MissingExtra            an optional package is not installed

Catch by family, raise by leaf.
"""

from dataclasses import dataclass
from typing import ClassVar, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What is kept of an error: enough to show it, and to raise it again elsewhere."""

    code: str
    message: str
    retry_after: float | None = None
    """Seconds after which asking again makes sense, if that is known."""


class TertuliaError(Exception):
    """The family of everything that we raise."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").split("\n")[0])
        self.retry_after = retry_after
        self.run_id: str | None = None
        """The run that this error ended, once there is one."""

    def failure(self) -> Failure:
        """Return what is kept of this error."""
        return Failure(code=self.code, message=str(self), retry_after=self.retry_after)

    @classmethod
    def of(cls, failure: Failure, *, run_id: str | None = None) -> "TertuliaError":
        """Return the error that :meth:`failure` was taken from."""
        leaf = _BY_CODE.get(failure.code, RunFailed)
        error = leaf(failure.message, retry_after=failure.retry_after)
        error.run_id = run_id
        return error

    def in_run(self, run_id: str) -> Self:
        """Name the run that this error ended."""
        self.run_id = run_id
        return self


class InvalidInput(TertuliaError):
    """The request cannot be right as it stands."""

    code = "invalid_input"


class InvalidShape(InvalidInput):
    """The response shape is no usable JSON Schema."""

    code = "invalid_shape"


class AddressRefused(InvalidInput):
    """This address is not one that somebody outside may send us to."""

    code = "address_refused"


class UnknownModel(InvalidInput):
    """No plug answers to this model name."""

    code = "unknown_model"


class UnknownTool(InvalidInput):
    """This installation has no such tool."""

    code = "unknown_tool"


class NotFound(TertuliaError):
    """There is no such thing."""

    code = "not_found"


class Conflict(TertuliaError):
    """The request is at odds with what is stored."""

    code = "conflict"


class ConversationClosed(Conflict):
    """This conversation has come to its end; open it again, or begin another."""

    code = "conversation_closed"


class ConversationBusy(Conflict):
    """Another run holds this conversation; ask again when it has ended."""

    code = "conversation_busy"


class ConversationMovedOn(Conflict):
    """The failed run cannot be repeated: the conversation has moved on since."""

    code = "conversation_moved_on"


class DuplicateName(Conflict):
    """An agent of this name exists."""

    code = "duplicate_name"


class HeadMoved(Conflict):
    """The conversation is no longer where the request expects it to be."""

    code = "head_moved"


class IdempotencyMismatch(Conflict):
    """This Idempotency-Key was used with a different request."""

    code = "idempotency_mismatch"


class NotWaiting(Conflict):
    """The run waits for no decision."""

    code = "not_waiting"


class SessionMismatch(Conflict):
    """This conversation belongs to another agent or user."""

    code = "session_mismatch"


class VersionMoved(Conflict):
    """Somebody else has changed it in the meantime; ask again."""

    code = "version_moved"


class ModelError(TertuliaError):
    """Asking the language model did not give an answer."""

    code = "model_error"


class ModelBusy(ModelError):
    """The model is busy."""

    code = "model_busy"


class ModelTimeout(ModelError):
    """The model took too long."""

    code = "model_timeout"


class ModelRefused(ModelError):
    """The model's provider refused the request."""

    code = "model_refused"


class ModelUnreachable(ModelError):
    """The model's provider could not be reached."""

    code = "model_unreachable"


class ModelMalformed(ModelError):
    """The model's provider sent something that is no answer."""

    code = "model_malformed"


class AnswerGone(ModelError):
    """An earlier answer that the model's provider kept is there no more."""

    code = "answer_gone"


class ContextTooLong(ModelError):
    """The prompt does not fit the model's window."""

    code = "context_too_long"


class ToolError(TertuliaError):
    """A tool could not do what it was asked to; the model is told the text."""

    code = "tool_error"


class ToolUnavailable(ToolError):
    """A server of tools cannot be reached."""

    code = "tool_unavailable"


class ProviderError(TertuliaError):
    """A history or context provider could not do what it was asked to."""

    code = "provider_error"


class BudgetExceeded(TertuliaError):
    """The run has used up what it was allowed."""

    code = "budget_exceeded"


class ShapeMismatch(TertuliaError):
    """The model's answer never met the response shape."""

    code = "shape_mismatch"


class StoreError(TertuliaError):
    """The store could not do what was asked of it; nothing was half done."""

    code = "store_error"


class StoreBusy(StoreError):
    """Another writer kept the database for too long; ask again."""

    code = "store_busy"


class StoreUnavailable(StoreError):
    """The database cannot be reached."""

    code = "store_unavailable"


class OutcomeUnknown(StoreUnavailable):
    """The database was lost while this was kept, and whether it was is not known."""

    code = "outcome_unknown"


class RunFailed(TertuliaError):
    """The run ended without an answer."""

    code = "run_failed"


class RunCancelled(RunFailed):
    """The run was cancelled."""

    code = "run_cancelled"


class RunTimedOut(RunFailed):
    """The run took longer than its caller wanted to wait, and was cancelled."""

    code = "run_timed_out"


class RunGivenUp(RunFailed):
    """The run was given up: it has ended its process too often."""

    code = "run_given_up"


class NeedsAttention(RunFailed):
    """Somebody has to decide how this run goes on."""

    code = "needs_attention"

    path: str = ""
    """The step that the run stopped at, if that is known here."""
    subject: str = ""
    """What it is about, as JSON text: ``{"tool", "arguments"}`` where a tool is to be used."""
    verdicts: tuple[str, ...] = ()
    """What can be decided."""

    def about(self, *, path: str, subject: str, verdicts: tuple[str, ...]) -> Self:
        """Say what is to be decided."""
        self.path, self.subject, self.verdicts = path, subject, verdicts
        return self


class UnknownOutcome(NeedsAttention):
    """Whether a step took effect before its process ended is not known."""

    code = "unknown_outcome"


class StopRequested(RunFailed):
    """This run was asked to stop: nothing but its end can be written."""

    code = "stop_requested"


class LeaseLost(RunFailed):
    """Another process has taken this run over."""

    code = "lease_lost"


class NotAuthorized(TertuliaError):
    """This was asked without showing that it may be."""

    code = "not_authorized"


class NotServedHere(TertuliaError):
    """This agent is part of a program that this process does not have."""

    code = "not_served_here"


class Stopping(TertuliaError):
    """This process is about to end; ask again."""

    code = "stopping"


class MissingExtra(TertuliaError):
    """An optional package is not installed."""

    code = "missing_extra"


def _leaves(family: type[TertuliaError]) -> dict[str, type[TertuliaError]]:
    found = {family.code: family}
    for child in family.__subclasses__():
        found |= _leaves(child)
    return found


_BY_CODE = _leaves(TertuliaError)
