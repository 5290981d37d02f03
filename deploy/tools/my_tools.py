"""The installation's own tools: an example, to be replaced; docs/tools.md says how they are written."""

from datetime import UTC, datetime

from tertulia import tool


@tool(is_idempotent=True)
def time_now() -> str:
    """Tell the date and the time of day, in UTC."""
    return datetime.now(UTC).isoformat(timespec="minutes")
