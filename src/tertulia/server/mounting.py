"""Where this service stands within another application."""

from starlette.types import Scope


def mounted_at(scope: Scope) -> str:
    """Return the path under which a request found this service; empty if it stands by itself."""
    root: str = scope.get("root_path", "")
    return root.rstrip("/")
