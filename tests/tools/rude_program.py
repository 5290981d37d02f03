"""A server of tools without any library, which keeps no manners when it is asked not to."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

TOOLS = ("echo", "long", "shout", "chatter", "rubbish", "deaf")


def write(text: str) -> None:
    os.write(1, text.encode() + b"\n")


def answer(asked: dict[str, Any], result: object) -> None:
    write(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}))


def write_all(piece: bytes) -> None:
    while piece:
        piece = piece[os.write(1, piece) :]


def call(asked: dict[str, Any]) -> None:
    name = asked["params"]["name"]
    if name == "shout":
        write_all(b"x" * 16 * 1024 * 1024)
    while name == "chatter":
        write_all(b'{"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}\n' * 100)
    while name == "rubbish":
        write_all(b"\n\xff\n{}\n" * 1000)
    text = "x" * 3_000_000 if name == "long" else "echo"
    result = {"content": [{"type": "text", "text": text}], "isError": False}
    piece = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode()
    if name == "deaf":  # from before the answer on, so that whoever has heard it is not heard any more
        os.close(0)
    write_all(piece + b"\n")
    if name == "deaf":
        threading.Event().wait()


def respond(asked: dict[str, Any]) -> None:
    match asked["method"]:
        case "initialize":
            answer(
                asked,
                {
                    "protocolVersion": asked["params"]["protocolVersion"],
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "rude", "version": "1"},
                },
            )
        case "tools/list":
            answer(asked, {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]})
        case "tools/call":
            call(asked)
        case _:
            error = {"code": -32601, "message": "unknown"}
            write(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": error}))


def main() -> None:
    if "banner" in sys.argv:
        write("Welcome to the rude server!\n\n[1, 2")
        os.write(1, b"\xff\xfe\n")
    if "child" in sys.argv:
        # It keeps the pipes of its parent, and its number is told in a file.
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(sys.argv[-1]).write_text(str(child.pid), encoding="ascii")
    if "stubborn" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" in asked:
            respond(asked)
    if "stubborn" in sys.argv:
        threading.Event().wait()


if __name__ == "__main__":
    main()
