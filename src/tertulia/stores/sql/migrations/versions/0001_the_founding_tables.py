"""The founding tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.LargeBinary(16).with_variant(sa.UUID(), "postgresql")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "agent_versions",
        sa.Column("tenant", sa.Integer(), nullable=False),
        sa.Column("agent_id", _ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "agent_id", "version", name=op.f("pk_agent_versions")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "agents",
        sa.Column("tenant", sa.Integer(), nullable=False),
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_agents")),
        sqlite_with_rowid=False,
    )
    op.create_index("uq_agents_name", "agents", ["tenant", "name"], unique=True)
    op.create_table(
        "aliases",
        sa.Column("tenant", sa.Integer(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("id", _ID, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "alias", name=op.f("pk_aliases")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_aliases_id", "aliases", ["tenant", "id"], unique=False)
    op.create_table(
        "conversations",
        sa.Column("tenant", sa.Integer(), nullable=False),
        sa.Column("id", _ID, nullable=False),
        sa.Column("agent_id", _ID, nullable=False),
        sa.Column("agent_version", sa.Integer(), nullable=True),
        sa.Column("alias", sa.Text(), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("head", sa.Integer(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("next_run", sa.Integer(), nullable=False),
        sa.Column("holder", _ID, nullable=True),
        sa.Column("queued", sa.Integer(), nullable=False),
        sa.Column("lineage_id", _ID, nullable=False),
        sa.Column("flags", sa.SmallInteger(), nullable=False),
        sa.Column("first_message", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("metadata", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_conversations")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_conversations_agent", "conversations", ["tenant", "agent_id", "id"], unique=False)
    op.create_index(
        "ix_conversations_orphaned",
        "conversations",
        ["tenant", "id"],
        unique=False,
        sqlite_where=sa.text("queued > 0 AND holder IS NULL"),
        postgresql_where=sa.text("queued > 0 AND holder IS NULL"),
    )
    op.create_index(
        "ix_conversations_user",
        "conversations",
        ["tenant", "user_id", "id"],
        unique=False,
        sqlite_where=sa.text("user_id IS NOT NULL"),
        postgresql_where=sa.text("user_id IS NOT NULL"),
    )
    op.create_table(
        "frames",
        sa.Column("tenant", sa.Integer(), nullable=False),
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "run_id", "first_seq", name=op.f("pk_frames")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "idempotency",
        sa.Column("tenant", sa.Integer(), nullable=False),
        sa.Column("scope", _ID, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("resource", _ID, nullable=False),
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "scope", "key", name=op.f("pk_idempotency")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_idempotency_expires", "idempotency", ["expires"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("tenant", sa.Integer(), nullable=False),
        sa.Column("id", _ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("conversation_id", _ID, nullable=True),
        sa.Column("run_id", _ID, nullable=True),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("owner", _ID, nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_jobs")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_jobs_due",
        "jobs",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("status IN ('queued', 'running')"),
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.create_table(
        "messages",
        sa.Column("tenant", sa.Integer(), nullable=False),
        sa.Column("conversation_id", _ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("id", _ID, nullable=False),
        sa.Column("run_id", _ID, nullable=True),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=True),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("flags", sa.SmallInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "conversation_id", "number", name=op.f("pk_messages")),
        sqlite_with_rowid=False,
    )
    op.create_index("uq_messages_id", "messages", ["tenant", "id"], unique=True)
    op.create_table(
        "runs",
        sa.Column("tenant", sa.Integer(), nullable=False),
        sa.Column("id", _ID, nullable=False),
        sa.Column("conversation_id", _ID, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("owner", _ID, nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("performer", sa.Text(), nullable=False),
        sa.Column("agent_version", sa.Integer(), nullable=True),
        sa.Column("options", sa.Text(), nullable=True),
        sa.Column("input", sa.Text(), nullable=True),
        sa.Column("input_tokens", sa.Integer(), nullable=False),
        sa.Column("input_message_id", _ID, nullable=False),
        sa.Column("input_number", sa.Integer(), nullable=False),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.Column("successor", _ID, nullable=True),
        sa.Column("cancel_requested", sa.SmallInteger(), nullable=False),
        sa.Column("usage", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_runs")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_runs_queued",
        "runs",
        ["tenant", "conversation_id", "status", "n"],
        unique=False,
        sqlite_where=sa.text("status = 'queued'"),
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index(
        "uq_runs_holder",
        "runs",
        ["tenant", "conversation_id"],
        unique=True,
        sqlite_where=sa.text("status IN ('running', 'waiting')"),
        postgresql_where=sa.text("status IN ('running', 'waiting')"),
    )
    op.create_index("uq_runs_n", "runs", ["tenant", "conversation_id", "n"], unique=True)
    op.create_table(
        "segments",
        sa.Column("tenant", sa.Integer(), nullable=False),
        sa.Column("conversation_id", _ID, nullable=False),
        sa.Column("i", sa.Integer(), nullable=False),
        sa.Column("source_conversation_id", _ID, nullable=False),
        sa.Column("from_number", sa.Integer(), nullable=False),
        sa.Column("to_number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "conversation_id", "i", name=op.f("pk_segments")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_segments_source", "segments", ["tenant", "source_conversation_id"], unique=False)
    op.create_table(
        "steps",
        sa.Column("tenant", sa.Integer(), nullable=False),
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("identity", sa.LargeBinary(length=32), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("output", sa.Text(), nullable=True),
        sa.Column("usage", sa.Text(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "run_id", "path", name=op.f("pk_steps")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("name"),
        sqlite_with_rowid=False,
    )
    tenants = sa.table("tenants", sa.column("id"), sa.column("name"), sa.column("created_at"))
    op.bulk_insert(tenants, [{"id": 0, "name": "default", "created_at": 0}])


def downgrade() -> None:
    """Undo."""
    op.drop_table("tenants")
    op.drop_table("steps")
    op.drop_index("ix_segments_source", table_name="segments")
    op.drop_table("segments")
    op.drop_index("uq_runs_n", table_name="runs")
    op.drop_index(
        "uq_runs_holder",
        table_name="runs",
        sqlite_where=sa.text("status IN ('running', 'waiting')"),
        postgresql_where=sa.text("status IN ('running', 'waiting')"),
    )
    op.drop_index(
        "ix_runs_queued",
        table_name="runs",
        sqlite_where=sa.text("status = 'queued'"),
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.drop_table("runs")
    op.drop_index("uq_messages_id", table_name="messages")
    op.drop_table("messages")
    op.drop_index(
        "ix_jobs_due",
        table_name="jobs",
        sqlite_where=sa.text("status IN ('queued', 'running')"),
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.drop_table("jobs")
    op.drop_index("ix_idempotency_expires", table_name="idempotency")
    op.drop_table("idempotency")
    op.drop_table("frames")
    op.drop_index(
        "ix_conversations_user",
        table_name="conversations",
        sqlite_where=sa.text("user_id IS NOT NULL"),
        postgresql_where=sa.text("user_id IS NOT NULL"),
    )
    op.drop_index(
        "ix_conversations_orphaned",
        table_name="conversations",
        sqlite_where=sa.text("queued > 0 AND holder IS NULL"),
        postgresql_where=sa.text("queued > 0 AND holder IS NULL"),
    )
    op.drop_index("ix_conversations_agent", table_name="conversations")
    op.drop_table("conversations")
    op.drop_index("ix_aliases_id", table_name="aliases")
    op.drop_table("aliases")
    op.drop_index("uq_agents_name", table_name="agents")
    op.drop_table("agents")
    op.drop_table("agent_versions")
