"""Conversations that come to their end."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("conversations", sa.Column("closed", sa.Text(), nullable=True))


def downgrade() -> None:
    """Undo."""
    with op.batch_alter_table("conversations") as conversations:
        conversations.drop_column("closed")
