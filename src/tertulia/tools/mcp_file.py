"""The file in which an installation names its servers of tools, in the form that is widely used."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson

from tertulia.errors import InvalidInput
from tertulia.tools.base import TOOL_SECONDS

_LABEL: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
_DAY: Final = 86_400
_PROGRAM: Final = frozenset({"command", "args", "env", "cwd"})
_ENDPOINT: Final = frozenset({"url", "headers"})
_BOTH: Final = frozenset({"type", "approval", "allowed_tools", "timeout", "disabled", "description"})
_TYPES: Final = {
    "command": {"stdio"},
    "url": {"http", "streamable-http", "streamableHttp", "streamable_http"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A server that is started, and spoken to over its standard input and output."""

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Beside the few variables that every program needs, such as ``PATH``."""
    cwd: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server that is spoken to over HTTP."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """A server of tools, as an installation names it."""

    label: str
    at: Program | Endpoint
    needs_approval: bool = False
    """Whether each use of its tools waits until somebody has approved it."""
    allowed: tuple[str, ...] | None = None
    """Names of the tools that are used; ``None`` for all."""
    seconds: float = TOOL_SECONDS
    """Time that a use of one of its tools may take."""


def read_mcp_file(path: Path, *, environment: Mapping[str, str] = os.environ) -> list[ServerConfig]:
    """Return the servers that a file names, without those that are switched off.

    ``${NAME}`` in a text stands for a variable of the environment, ``${NAME:-text}`` for the text if
    that is not set. Raises :class:`InvalidInput`, which names the file and the key.
    """
    try:
        found = orjson.loads(path.read_bytes())
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be read: {(error.strerror or 'no reason known').lower()}"
        ) from error
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"{path} is no JSON: {error.msg} in line {error.lineno}") from error
    servers = found.get("mcpServers") if isinstance(found, dict) else None
    if not isinstance(servers, dict):
        raise InvalidInput(f'{path} must hold {{"mcpServers": {{"label": {{…}}}}}}')
    entries = [_Entry(path, label, raw, environment) for label, raw in servers.items()]
    return [entry.config() for entry in entries if not entry.is_disabled]


class _Entry:
    """One server of a file, and the errors that name it."""

    def __init__(self, path: Path, label: str, raw: object, environment: Mapping[str, str]) -> None:
        self._where, self._environment = f"{path}: mcpServers.{label}", environment
        if not _LABEL.fullmatch(label):
            raise InvalidInput(f"{self._where}: a label is made of 1 to 32 letters, digits, - and _")
        if not isinstance(raw, dict) or ("command" in raw) == ("url" in raw):
            raise InvalidInput(f"{self._where} must be an object with either a command or a url")
        self._label, self._raw = label, raw
        self._check_keys(_PROGRAM if "command" in raw else _ENDPOINT)
        self.is_disabled = self._switch("disabled")

    def config(self) -> ServerConfig:
        return ServerConfig(
            label=self._label,
            at=self._program() if "command" in self._raw else self._endpoint(),
            needs_approval=self._switch("approval"),
            allowed=self._texts("allowed_tools") if "allowed_tools" in self._raw else None,
            seconds=self._seconds(),
        )

    def _program(self) -> Program:
        return Program(
            command=self._text("command"),
            args=self._texts("args"),
            env=self._named("env"),
            cwd=self._text("cwd") if "cwd" in self._raw else None,
        )

    def _endpoint(self) -> Endpoint:
        url = self._text("url")
        if not url.startswith(("http://", "https://")):
            raise self._wrong("url", "must begin with https:// or http://")
        return Endpoint(url=url, headers=self._named("headers"))

    def _check_keys(self, own: frozenset[str]) -> None:
        known = own | _BOTH
        if strange := sorted(set(self._raw) - known):
            raise self._wrong(strange[0], f"is not known here; there are: {', '.join(sorted(known))}")
        kind = self._raw.get("type")
        spoken = _TYPES["command" if own is _PROGRAM else "url"]
        if kind is not None and kind not in spoken:
            raise self._wrong("type", f"can only be {' or '.join(sorted(spoken))}")

    def _switch(self, key: str) -> bool:
        value = self._raw.get(key, False)
        if not isinstance(value, bool):
            raise self._wrong(key, "must be true or false")
        return value

    def _seconds(self) -> float:
        value = self._raw.get("timeout", TOOL_SECONDS)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _DAY:
            raise self._wrong("timeout", f"must be a number of seconds, up to {_DAY}")
        return float(value)

    def _text(self, key: str) -> str:
        value = self._raw[key]
        if not isinstance(value, str) or not value:
            raise self._wrong(key, "must be a text")
        return self._filled(key, value)

    def _texts(self, key: str) -> tuple[str, ...]:
        value = self._raw.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self._wrong(key, "must be a list of texts")
        return tuple(self._filled(key, each) for each in value)

    def _named(self, key: str) -> dict[str, str]:
        value = self._raw.get(key, {})
        if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
            raise self._wrong(key, "must be an object of texts")
        return {name: self._filled(f"{key}.{name}", each) for name, each in value.items()}

    def _filled(self, key: str, text: str) -> str:
        def value_of(found: re.Match[str]) -> str:
            value = self._environment.get(found[1]) or found[2]
            if value is None:
                raise self._wrong(key, f"needs the variable {found[1]}, which is not set in the environment")
            return value

        return _VARIABLE.sub(value_of, text)

    def _wrong(self, key: str, why: str) -> InvalidInput:
        return InvalidInput(f"{self._where}.{key} {why}")
