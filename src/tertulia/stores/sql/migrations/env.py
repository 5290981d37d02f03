"""Alembic's entry: migrates over the connection that it is handed."""

from alembic import context

from tertulia.stores.sql.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transaction_per_migration=False,
)
context.run_migrations()
