"""Tenants behind walls: on PostgreSQL, row-level security on every table."""

import logging

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_LOG = logging.getLogger(__name__)

_TENANT_OF = {
    "tenants": "id",
    "agents": "tenant",
    "agent_versions": "tenant",
    "conversations": "tenant",
    "aliases": "tenant",
    "segments": "tenant",
    "messages": "tenant",
    "runs": "tenant",
    "steps": "tenant",
    "frames": "tenant",
    "idempotency": "tenant",
    "jobs": "tenant",
}

# Closed unless it is open: a setting that nobody made is NULL, one that was made for a transaction that
# is over is '', and neither is a tenant's number. '*' is everybody. Compared as text, so that what is no
# number at all shows nothing instead of failing; and as a CASE, whose rows the planner does not take for
# few: after an OR it would rather read a whole table than follow an index that gives the order.
_MINE = (
    "CASE current_setting('tertulia.tenant', true) "
    "WHEN '*' THEN true WHEN {column}::text THEN true ELSE false END"
)

_MAKE_ROLE = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tertulia_app') THEN
        CREATE ROLE tertulia_app NOLOGIN;
    END IF;
EXCEPTION
    WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN NULL;
END $$
"""
_IS_THERE = "SELECT count(*) FROM pg_roles WHERE rolname = 'tertulia_app'"
_GRANT = """
DO $$ BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO tertulia_app', current_schema());
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I '
                   'GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO tertulia_app', current_schema());
END $$
"""
_REVOKE = """
DO $$ BEGIN
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I '
                   'REVOKE SELECT, INSERT, UPDATE, DELETE ON TABLES FROM tertulia_app', current_schema());
    EXECUTE format('REVOKE USAGE ON SCHEMA %I FROM tertulia_app', current_schema());
END $$
"""
_ALL = ", ".join(_TENANT_OF)


def upgrade() -> None:
    """Apply."""
    if op.get_bind().dialect.name != "postgresql":
        return
    for name, column in _TENANT_OF.items():
        op.execute(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY own_tenant ON {name} USING ({_MINE.format(column=column)})")
    op.execute(_MAKE_ROLE)
    if not _role_is_there():
        _LOG.warning("no role tertulia_app was made, since this user may not make roles")
        return
    op.execute(_GRANT)
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {_ALL} TO tertulia_app")
    op.execute("GRANT SELECT ON alembic_version TO tertulia_app")


def downgrade() -> None:
    """Undo; the role stays, since other databases of the server may use it."""
    if op.get_bind().dialect.name != "postgresql":
        return
    if _role_is_there():
        op.execute(_REVOKE)
        op.execute(f"REVOKE ALL ON {_ALL}, alembic_version FROM tertulia_app")
    for name in _TENANT_OF:
        op.execute(f"DROP POLICY own_tenant ON {name}")
        op.execute(f"ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {name} DISABLE ROW LEVEL SECURITY")


def _role_is_there() -> bool:
    return bool(op.get_bind().scalar(sa.text(_IS_THERE)))
