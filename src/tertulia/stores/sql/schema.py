"""The tables, once for both databases.

The tenant leads every key. Ids are 16 bytes, times are microseconds since 1970 (UTC), JSON is text
that was encoded by us. Text that people or models wrote stands only in the columns that
:data:`ERASURE` names, with the way in which it is erased.
"""

from typing import Any, Final, TypeAlias

from sqlalchemy import (
    UUID,
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.types import TypeEngine

METADATA: Final = MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"}
)

Id = LargeBinary(16).with_variant(UUID(), "postgresql")
Digest = LargeBinary(32)
_Kind: TypeAlias = TypeEngine[Any] | type[TypeEngine[Any]]


def _table(name: str, *parts: Any, key: tuple[str, ...]) -> Table:
    """Make a table kept in the order of its key."""
    return Table(name, METADATA, *parts, PrimaryKeyConstraint(*key), sqlite_with_rowid=False)


def _tenant() -> Column[int]:
    return Column("tenant", Integer, nullable=False)


def _need(name: str, kind: _Kind, **options: Any) -> Column[Any]:
    return Column(name, kind, nullable=False, **options)


def _may(name: str, kind: _Kind) -> Column[Any]:
    return Column(name, kind, nullable=True)


TENANTS: Final = _table(
    "tenants",
    _need("id", Integer, autoincrement=False),
    _need("name", Text, unique=True),
    _need("created_at", BigInteger),
    key=("id",),
)

AGENTS: Final = _table(
    "agents",
    _tenant(),
    _need("id", Id),
    _need("name", Text),
    _need("version", Integer),
    _need("created_at", BigInteger),
    Index("uq_agents_name", "tenant", "name", unique=True),
    key=("tenant", "id"),
)

AGENT_VERSIONS: Final = _table(
    "agent_versions",
    _tenant(),
    _need("agent_id", Id),
    _need("version", Integer),
    _need("definition", Text),
    _need("created_at", BigInteger),
    key=("tenant", "agent_id", "version"),
)

CONVERSATIONS: Final = _table(
    "conversations",
    _tenant(),
    _need("id", Id),
    _need("agent_id", Id),
    _may("agent_version", Integer),
    _may("alias", Text),
    _may("user_id", Text),
    _may("parent_id", Id),
    _need("base", Integer, server_default=text("0")),
    _may("title", Text),
    _need("head", Integer),
    _need("tokens", BigInteger),
    _need("version", Integer),
    _need("next_run", Integer),
    _may("holder", Id),
    _need("queued", Integer),
    _need("lineage_id", Id),
    _need("flags", SmallInteger),
    _may("first_message", Text),
    _may("state", Text),
    _may("closed", Text),
    _may("metadata", Text),
    _need("created_at", BigInteger),
    _need("updated_at", BigInteger),
    Index("ix_conversations_agent", "tenant", "agent_id", "id"),
    Index(
        "ix_conversations_user",
        "tenant",
        "user_id",
        "id",
        sqlite_where=text("user_id IS NOT NULL"),
        postgresql_where=text("user_id IS NOT NULL"),
    ),
    Index(
        "ix_conversations_orphaned",
        "tenant",
        "id",
        sqlite_where=text("queued > 0 AND holder IS NULL"),
        postgresql_where=text("queued > 0 AND holder IS NULL"),
    ),
    key=("tenant", "id"),
)

ALIASES: Final = _table(
    "aliases",
    _tenant(),
    _need("alias", Text),
    _need("id", Id),
    Index("ix_aliases_id", "tenant", "id"),
    key=("tenant", "alias"),
)

SEGMENTS: Final = _table(
    "segments",
    _tenant(),
    _need("conversation_id", Id),
    _need("i", Integer),
    _need("source_conversation_id", Id),
    _need("from_number", Integer),
    _need("to_number", Integer),
    Index("ix_segments_source", "tenant", "source_conversation_id", "to_number"),
    key=("tenant", "conversation_id", "i"),
)

MESSAGES: Final = _table(
    "messages",
    _tenant(),
    _need("conversation_id", Id),
    _need("number", Integer),
    _need("id", Id),
    _may("run_id", Id),
    _need("turn", Integer),
    _need("role", Text),
    _may("author", Text),
    _need("content", Text),
    _need("flags", SmallInteger),
    _need("created_at", BigInteger),
    Index("uq_messages_id", "tenant", "id", unique=True),
    key=("tenant", "conversation_id", "number"),
)

HOLDS: Final = text("status IN ('running', 'waiting')")
"""Of runs: that they hold their conversation."""

RUNS: Final = _table(
    "runs",
    _tenant(),
    _need("id", Id),
    _need("conversation_id", Id),
    _need("n", Integer),
    _need("status", Text),
    _need("epoch", Integer),
    _may("owner", Id),
    _may("lease_until", BigInteger),
    _need("attempt", Integer),
    _need("performer", Text),
    _may("agent_version", Integer),
    _may("options", Text),
    _may("input", Text),
    _need("input_tokens", Integer),
    _need("input_message_id", Id),
    _need("input_number", Integer),
    _need("last_number", Integer),
    _may("successor", Id),
    _need("cancel_requested", SmallInteger),
    _may("waiting", Text),
    _may("usage", Text),
    _may("error", Text),
    _need("created_at", BigInteger),
    _may("started_at", BigInteger),
    _may("ended_at", BigInteger),
    Index("uq_runs_n", "tenant", "conversation_id", "n", unique=True),
    Index(
        "uq_runs_holder",
        "tenant",
        "conversation_id",
        unique=True,
        sqlite_where=HOLDS,
        postgresql_where=HOLDS,
    ),
    Index(
        "ix_runs_queued",
        "tenant",
        "conversation_id",
        "status",  # The same in every entry: it makes SQLite prefer this index to that of n.
        "n",
        sqlite_where=text("status = 'queued'"),
        postgresql_where=text("status = 'queued'"),
    ),
    key=("tenant", "id"),
)

STEPS: Final = _table(
    "steps",
    _tenant(),
    _need("run_id", Id),
    _need("path", Text),
    _need("epoch", Integer),
    _need("kind", Text),
    _need("identity", Digest),
    _may("external_id", Text),
    _may("output", Text),
    _may("usage", Text),
    _need("started_at", BigInteger),
    _need("ended_at", BigInteger),
    key=("tenant", "run_id", "path"),
)

FRAMES: Final = _table(
    "frames",
    _tenant(),
    _need("run_id", Id),
    _need("first_seq", BigInteger),
    _need("last_seq", BigInteger),
    _need("epoch", Integer),
    _need("data", Text),
    _need("created_at", BigInteger),
    key=("tenant", "run_id", "first_seq"),
)

IDEMPOTENCY: Final = _table(
    "idempotency",
    _tenant(),
    _need("scope", Id),
    _need("key", Text),
    _need("request_hash", Digest),
    _need("resource", Id),
    _need("run_id", Id),
    _need("expires", BigInteger),
    Index("ix_idempotency_expires", "expires"),
    key=("tenant", "scope", "key"),
)

JOBS: Final = _table(
    "jobs",
    _tenant(),
    _need("id", Id),
    _need("kind", Text),
    _may("conversation_id", Id),
    _may("run_id", Id),
    _need("payload", Text),
    _need("status", Text),
    _need("attempt", Integer),
    _need("due_at", BigInteger),
    _may("owner", Id),
    _may("lease_until", BigInteger),
    _may("error", Text),
    _need("created_at", BigInteger),
    Index(
        "ix_jobs_due",
        "due_at",
        sqlite_where=text("status IN ('queued', 'running')"),
        postgresql_where=text("status IN ('queued', 'running')"),
    ),
    key=("tenant", "id"),
)

STATES: Final = _table(
    "states",
    _tenant(),
    _need("scope", Text),
    _need("source", Text),
    _need("version", Integer),
    _need("value", Text),
    _need("updated_at", BigInteger),
    key=("tenant", "scope", "source"),
)

DOCUMENTS: Final = _table(
    "documents",
    _tenant(),
    _need("id", Id),
    _need("collection", Text),
    _need("name", Text),
    _need("media_type", Text),
    _need("digest", Digest),
    _need("characters", Integer),
    _need("passages", Integer),
    _need("length", BigInteger),
    _need("created_at", BigInteger),
    Index("uq_documents_name", "tenant", "collection", "name", unique=True),
    key=("tenant", "id"),
)

PASSAGES: Final = _table(
    "passages",
    _tenant(),
    _need("document_id", Id),
    _need("place", Integer),
    _need("location", Text),
    _need("content", Text),
    _need("length", Integer),
    key=("tenant", "document_id", "place"),
)

POSTINGS: Final = _table(
    "postings",
    _tenant(),
    _need("collection", Text),
    _need("term", Text),
    _need("document_id", Id),
    _need("place", Integer),
    _need("count", Integer),
    _need("length", Integer),
    Index("ix_postings_document", "tenant", "document_id"),
    key=("tenant", "collection", "term", "document_id", "place"),
)

ERASURE: Final[dict[str, str]] = {
    "agents.name": "with the agent",
    "agent_versions.definition": "with the agent",
    "aliases.alias": "with what it names",
    "conversations.alias": "with the conversation",
    "conversations.user_id": "with the user or the conversation",
    "conversations.title": "with the conversation, or any of its messages",
    "conversations.first_message": "with the conversation",
    "conversations.state": "with the conversation",
    "conversations.closed": "with the conversation",
    "conversations.metadata": "with the conversation",
    "messages.author": "with the message",
    "messages.content": "with the message",
    "runs.options": "with the conversation",
    "runs.input": "when its message is numbered, or with the conversation",
    "runs.waiting": "with the conversation",
    "runs.error": "holds no content",
    "runs.usage": "holds no content",
    "steps.output": "when the run ends",
    "steps.external_id": "with the conversation",
    "steps.usage": "holds no content",
    "frames.data": "24 hours after the run, or with the conversation",
    "idempotency.key": "24 hours after its use, or with the conversation",
    "jobs.payload": "when the job is done, or with the conversation",
    "jobs.error": "holds no content",
    "states.scope": "with the conversation or the user",
    "states.source": "with the conversation or the user",
    "states.value": "with the conversation or the user",
    "documents.collection": "with the document",
    "documents.name": "with the document",
    "documents.media_type": "with the document",
    "passages.location": "with the document",
    "passages.content": "with the document",
    "postings.collection": "with the document",
    "postings.term": "with the document",
    "tenants.name": "with the tenant",
}
"""Every text column that can hold something of somebody's, and when it goes."""
