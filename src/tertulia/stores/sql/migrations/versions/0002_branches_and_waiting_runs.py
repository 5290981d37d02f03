"""Branches, and what runs wait for."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ID = sa.LargeBinary(16).with_variant(sa.UUID(), "postgresql")


def upgrade() -> None:
    """Apply."""
    op.add_column("conversations", sa.Column("parent_id", _ID, nullable=True))
    op.add_column(
        "conversations", sa.Column("base", sa.Integer(), nullable=False, server_default=sa.text("0"))
    )
    op.add_column("runs", sa.Column("waiting", sa.Text(), nullable=True))
    op.drop_index("ix_segments_source", table_name="segments")
    op.create_index("ix_segments_source", "segments", ["tenant", "source_conversation_id", "to_number"])


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_segments_source", table_name="segments")
    op.create_index("ix_segments_source", "segments", ["tenant", "source_conversation_id"])
    with op.batch_alter_table("runs") as runs:
        runs.drop_column("waiting")
    with op.batch_alter_table("conversations") as conversations:
        conversations.drop_column("base")
        conversations.drop_column("parent_id")
