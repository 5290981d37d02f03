"""Checks of where the server listens."""

import asyncio
import http.client
import json
import socket
from typing import Final

from tertulia.cli.doctor.findings import Case, Finding, broken, good, warning
from tertulia.settings import PREFIX

READY: Final = "ready"
_SECONDS: Final = 3.0
_MOST: Final = 4096
_OK: Final = 200


async def check_port(case: Case) -> list[Finding]:
    """Say whether a server answers where one is to listen, or could listen there."""
    host, port = case.settings.host.strip("[]"), case.settings.port
    if port == 0:
        return [good("server", "takes a free port when it is started", "tertulia serve")]
    where = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    answer = await asyncio.to_thread(_answer, host, port)
    if answer is None:
        return [await asyncio.to_thread(_free, host, port, where)]
    if answer == READY:
        return [good("server", f"answers at {where}, and is ready", f"open {where}")]
    if answer:
        return [broken("server", f"answers at {where}, and is not ready: {answer}")]
    advice = f"choose another {PREFIX}PORT, or tertulia serve --port PORT"
    return [warning("server", f"another program listens at {where}", advice)]


def _answer(host: str, port: int) -> str | None:
    """Return what a server of ours says: :data:`READY`, or why it is not.

    Empty if something else listens there, ``None`` if nothing does.
    """
    connection = http.client.HTTPConnection(host, port, timeout=_SECONDS)
    try:
        connection.connect()
    except OSError:
        return None
    try:
        connection.request("GET", "/readyz")
        reply = connection.getresponse()
        said = json.loads(reply.read(_MOST))
        if reply.status == _OK:
            return READY if said["message"] == READY else ""
        return str(said["detail"])
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return ""
    finally:
        connection.close()


def _free(host: str, port: int, where: str) -> Finding:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        reason = (error.strerror or "it is no address of this machine").lower()
        return broken("server", f"cannot listen at {where}: {reason}", f"choose another {PREFIX}PORT or HOST")
    return good("server", f"none is running; {where} is free for one", "tertulia serve")
