"""Requests that can only mean one thing, answered as if they had said it in our way."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tertulia.server.mounting import mounted_at


class Forgiving:
    """Answers HEAD as GET without the body, and a path with a slash at its end as the one without."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, told in our way."""
        changed = _changed(scope) if scope["type"] == "http" else {}
        if not changed:
            await self._inner(scope, receive, send)
            return
        # The server that called looks at its own scope: it has to know that this is a HEAD.
        ours = {**scope, **changed}
        try:
            await self._inner(ours, receive, _without_body(send) if scope["method"] == "HEAD" else send)
        finally:
            if "route" in ours:
                scope["route"] = ours["route"]


def _changed(scope: Scope) -> dict[str, str]:
    """Return what is to be read otherwise than it was said."""
    changed = {"method": "GET"} if scope["method"] == "HEAD" else {}
    path: str = scope["path"]
    # Where this is mounted, the path begins with that place; the slash behind it is the home page.
    at_home = path == f"{mounted_at(scope)}/"
    return {**changed, "path": path[:-1]} if path.endswith("/") and not at_home else changed


def _without_body(send: Send) -> Send:
    async def told(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return told
