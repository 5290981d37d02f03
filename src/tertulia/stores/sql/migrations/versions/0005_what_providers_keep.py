"""What providers keep of conversations and users, and documents with an index of their terms."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ID = sa.LargeBinary(16).with_variant(sa.UUID(), "postgresql")
_TABLES = ("states", "documents", "passages", "postings")

# As for the other tables: closed unless it is open.
_MINE = (
    "CASE current_setting('tertulia.tenant', true) "
    "WHEN '*' THEN true WHEN tenant::text THEN true ELSE false END"
)
_IS_THERE = "SELECT count(*) FROM pg_roles WHERE rolname = 'tertulia_app'"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "states",
        sa.Column("tenant", sa.Integer(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "scope", "source", name=op.f("pk_states")),
        sqlite_with_rowid=False,
    )
    _create_documents()
    _create_terms()
    if op.get_bind().dialect.name == "postgresql":
        _wall_in()


def _create_documents() -> None:
    op.create_table(
        "documents",
        sa.Column("tenant", sa.Integer(), nullable=False),
        sa.Column("id", _ID, nullable=False),
        sa.Column("collection", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("characters", sa.Integer(), nullable=False),
        sa.Column("passages", sa.Integer(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_documents")),
        sqlite_with_rowid=False,
    )
    op.create_index("uq_documents_name", "documents", ["tenant", "collection", "name"], unique=True)
    op.create_table(
        "passages",
        sa.Column("tenant", sa.Integer(), nullable=False),
        sa.Column("document_id", _ID, nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "document_id", "place", name=op.f("pk_passages")),
        sqlite_with_rowid=False,
    )


def _create_terms() -> None:
    op.create_table(
        "postings",
        sa.Column("tenant", sa.Integer(), nullable=False),
        sa.Column("collection", sa.Text(), nullable=False),
        sa.Column("term", sa.Text(), nullable=False),
        sa.Column("document_id", _ID, nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant", "collection", "term", "document_id", "place", name=op.f("pk_postings")
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_postings_document", "postings", ["tenant", "document_id"], unique=False)


def _wall_in() -> None:
    for name in _TABLES:
        op.execute(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY own_tenant ON {name} USING ({_MINE})")
    # Beside what new tables give the role by default: that holds only for tables of who said so.
    if op.get_bind().scalar(sa.text(_IS_THERE)):
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(_TABLES)} TO tertulia_app")


def downgrade() -> None:
    """Undo; policies, indexes and rights go with their tables."""
    for name in reversed(_TABLES):
        op.drop_table(name)
