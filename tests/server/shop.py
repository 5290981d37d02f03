"""Tools of a shop, one of which needs somebody's approval, as an installation names them in its settings."""

from tertulia import tool

ORDERS: list[str] = []
"""What was ordered."""


@tool(needs_approval=True, is_idempotent=True)
def order(fruit: str) -> str:
    """Order fruit from the market."""
    ORDERS.append(fruit)
    return f"{fruit}: ordered"
