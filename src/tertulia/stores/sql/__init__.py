"""Storage in SQL: SQLite and PostgreSQL from one set of statements."""
