"""Migrations, run in process by alembic."""
