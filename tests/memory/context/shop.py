"""A shop's database, of which agents may read some, and secrets that nobody may."""

import asyncio
import sqlite3
from pathlib import Path

from tertulia.memory.context.database import DatabaseProvider, QueryTool
from tertulia.memory.sessions import ProviderRun, ProviderSession
from tertulia.testing.context_contract import a_message
from tertulia.tools.base import ToolContext

SECRET = "SWORDFISH"  # noqa: S105  # nobody's
ORDERS = ["id", "customer", "total", "made_at"]
SCRIPT = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, total REAL, made_at TEXT, card TEXT);
INSERT INTO orders VALUES (1, 'Ana', 12.5, '2026-01-05', 'SWORDFISH');
INSERT INTO orders VALUES (2, 'Ben', 30.0, '2026-01-20', 'SWORDFISH');
INSERT INTO orders VALUES (3, 'Ana', 7.25, '2026-02-02', 'SWORDFISH');
CREATE TABLE items (order_id INTEGER, what TEXT);
INSERT INTO items VALUES (1, 'tea');
INSERT INTO items VALUES (2, 'coffee');
CREATE TABLE secrets (id INTEGER, word TEXT);
INSERT INTO secrets VALUES (1, 'SWORDFISH');
CREATE VIEW everything AS SELECT word FROM secrets;
CREATE VIEW buyers AS SELECT DISTINCT customer FROM orders WHERE card > 'A';
CREATE VIEW regulars AS SELECT upper(customer) AS customer FROM buyers;
CREATE VIEW cards AS SELECT count(card) AS many, min(length(card)) AS longest FROM orders;
"""


def sqlite_shop(directory: Path) -> str:
    """Make the database in a file; return its URL."""
    path = directory / "shop.db"
    connection = sqlite3.connect(path)
    connection.executescript(SCRIPT)
    connection.close()
    return f"sqlite:///{path}"


def shop_at(url: str, **options: object) -> DatabaseProvider:
    """Return the provider through which agents may read orders, without cards, items and a view."""
    tables = {"orders": ORDERS, "items": None, "cards": None, "regulars": None}
    return DatabaseProvider(url, tables=tables, name="shop", **options)  # type: ignore[arg-type]  # as they come


async def query_tool(provider: DatabaseProvider) -> QueryTool:
    """Return the tool that a model is given."""
    session = ProviderSession(id="s", agent="Clerk")
    context = await provider.before_run(
        ProviderRun(id="run_1", input=a_message("How many?"), session=session)
    )
    assert context is not None
    [tool] = context.tools
    assert isinstance(tool, QueryTool)
    return tool


async def asked(tool: QueryTool, sql: str) -> str:
    """Return what a model is told that asks this."""
    context = ToolContext(key="k", run_id="run_1", conversation_id="conv_1", agent="Clerk")
    async with asyncio.timeout(30):
        return await tool.use({"sql": sql}, context)
