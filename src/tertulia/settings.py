"""Settings: what an installation chooses, read from ``TERTULIA_…`` variables and an ``.env`` file."""

import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from dotenv import load_dotenv
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from tertulia.errors import InvalidInput

PREFIX: Final = "TERTULIA_"
OPENAI_MODEL: Final = "openai:gpt-5-mini"
"""The default model of an installation that has an OpenAI key and names no model."""
COMPATIBLE_MODEL: Final = "openai-chat:gpt-5-mini"
"""The same where ``OPENAI_BASE_URL`` names another server: nearly all of them know chat completions only."""
LOCAL_MODEL: Final = "local"
OWN_RISK: Final = "none-at-my-own-risk"
_READ_ELSEWHERE: Final = ("TERTULIA_RUNTIME_DIR",)


def _lowered(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _uppered(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


class Settings(BaseModel):
    """All settings of an installation; for :func:`load_settings` each is a variable of the same name."""

    model_config = ConfigDict(extra="ignore", frozen=True, validate_default=True, hide_input_in_errors=True)
    secrets: ClassVar[tuple[str, ...]] = ("database_url", "hints_url")

    host: str = "127.0.0.1"
    """Address to listen on. Without authentication only a loopback address is accepted."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    auth: Literal["none", "none-at-my-own-risk"] = "none"
    """``none``: anyone who reaches the port may do everything, so the port must be a loopback one
    and requests must name it so. ``none-at-my-own-risk`` lifts both restrictions: for a container
    or a private network where something else decides who comes in."""
    data_dir: Path = Path("data")
    """Directory for what the installation keeps on disk."""
    database_url: str = ""
    """``sqlite:///…``, ``postgresql://…`` or ``memory://``; default: ``tertulia.db`` in ``data_dir``."""
    hints_url: str = ""
    """Where servers tell each other what is new: ``redis://…`` or ``valkey://…``; default: the database."""
    model: str | None = None
    """Model of agents that name none; see :attr:`default_model`. Several, with commas between them, stand in
    for one another."""
    lease_seconds: float = Field(default=10, gt=0.1, le=600)
    """Time after which a run of a process that went silent may be taken over."""
    model_timeout_seconds: float = Field(default=120, gt=0, le=86_400)
    """Time that a model call may take altogether."""
    prices_file: Path | None = None
    """JSON file of what models cost, ``{"provider:model": {"input": 0.25, "output": 2}}``: dollars per
    million tokens; goes before what providers list."""
    context_tokens: int = Field(default=16_000, ge=256)
    """Tokens that a model is shown at most."""
    run_max_steps: int = Field(default=50, ge=1, le=10_000)
    """Calls of models and tools that one run may make; agents and requests can only ask for less."""
    run_max_tokens: int | None = Field(default=None, ge=1)
    """Tokens, in and out, that one run may use."""
    run_max_seconds: float | None = Field(default=None, gt=0)
    """Seconds that the steps of one run may take, without the time that it waits for a decision."""
    run_max_cost: float | None = Field(default=None, ge=0)
    """US dollars that one run may cost."""
    agents: str = ""
    """Where agents are that were written in Python: modules, or ``module:name`` for one or several of them,
    parted by commas."""
    tools: str = ""
    """Where functions for agents are: modules, or ``module:name`` for one of them, parted by commas."""
    mcp_file: Path | None = None
    """A JSON file that names servers of tools: ``{"mcpServers": {…}}``, as it is widely used."""
    databases_file: Path | None = None
    """A JSON file that names the databases which agents may be let to read: ``{"databases": {…}}``."""
    max_body_bytes: int = Field(default=1_000_000, ge=1024)
    """Size of a request body at most."""
    max_document_bytes: int = Field(default=10_000_000, ge=1024)
    """Size at most of a document that is sent to be searched."""
    shutdown_seconds: int = Field(default=10, ge=0, le=600)
    """Time that answers under way are given to be finished when the server is asked to stop."""
    sqlite_synchronous: Annotated[Literal["FULL", "NORMAL"], BeforeValidator(_uppered)] = "FULL"
    """``NORMAL`` is faster, and may lose the last commits when the power fails."""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lowered)] = "info"

    @property
    def default_model(self) -> str:
        """The model that answers for agents that name none."""
        if self.model:
            return self.model
        if not os.environ.get("OPENAI_API_KEY"):
            return LOCAL_MODEL
        return COMPATIBLE_MODEL if os.environ.get("OPENAI_BASE_URL") else OPENAI_MODEL

    @property
    def database_kind(self) -> str:
        """The part of the database's URL that can be shown to anyone: ``sqlite``, ``postgresql`` …"""
        return self.database_url.partition(":")[0].partition("+")[0]

    @property
    def is_open(self) -> bool:
        """Whether requests from anywhere, under any host name, are answered."""
        return self.auth == OWN_RISK

    def make_data_dir(self) -> None:
        """Make the data directory, readable by its owner only, if the database is to lie in it."""
        if self.database_url != _database_in(self.data_dir):
            return
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or "it cannot be made"
            raise InvalidInput(f"{PREFIX}DATA_DIR {self.data_dir}: {reason}") from error

    @model_validator(mode="before")
    @classmethod
    def _with_database(cls, given: dict[str, Any]) -> dict[str, Any]:
        if given.get("database_url"):
            return given
        folder = Path(given.get("data_dir") or cls.model_fields["data_dir"].default)
        return given | {"database_url": _database_in(folder)}

    @model_validator(mode="after")
    def _refuse_strangers(self) -> Self:
        if not self.is_open and not is_loopback(self.host):
            raise ValueError(
                f"{PREFIX}HOST is not a loopback address, and there is no authentication yet: anyone on the "
                f"network could read and write everything. Listen on 127.0.0.1 (behind a proxy that asks who "
                f"is there), or set {PREFIX}AUTH={OWN_RISK}"
            )
        return self


def load_settings(given: Mapping[str, object] | None = None, *, env_file: str = ".env") -> Settings:
    """Return the settings of this process; raises :class:`InvalidInput`, in one line.

    What is ``given`` goes before ``TERTULIA_<NAME>`` in the environment, that before the same in
    ``env_file``, and that before the default; ``None`` and empty variables are left out. A setting that may
    hold a secret can also be given as ``TERTULIA_<NAME>_FILE``, the path of a file to read it from.
    Other variables in ``env_file``, such as ``OPENAI_API_KEY``, count as if they had been set too.
    """
    _read_env_file(env_file)
    chosen = {name: value for name, value in (given or {}).items() if value is not None}
    try:
        return Settings.model_validate(_from_files() | _from_variables() | chosen)
    except ValidationError as error:
        problems = (_told(dict(problem)) for problem in error.errors(include_input=False, include_url=False))
        raise InvalidInput("; ".join(problems)) from None


def misspelt(names: Iterable[str]) -> dict[str, str | None]:
    """Return the names among these that look like settings and are none, with the nearest that is one."""
    known = {_variable(name) for name in Settings.model_fields}
    known |= {f"{_variable(name)}_FILE" for name in Settings.secrets} | {*_READ_ELSEWHERE}
    strange = sorted(name for name in names if name.startswith(PREFIX) and name not in known)
    return {name: _nearest(name, known) for name in strange}


def _nearest(name: str, known: Iterable[str]) -> str | None:
    words = sorted(other.removeprefix(PREFIX) for other in known)
    found = get_close_matches(name.removeprefix(PREFIX), words, 1)
    return PREFIX + found[0] if found else None


def _read_env_file(path: str) -> None:
    try:
        load_dotenv(path, override=False)
    except UnicodeDecodeError:
        raise InvalidInput(f"the file {path} is no UTF-8 text; save it as UTF-8") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it holds something that no variable can"
        raise InvalidInput(f"the file {path} cannot be read: {reason.lower()}") from error


def _from_variables() -> dict[str, object]:
    found = {name: os.environ.get(_variable(name)) for name in Settings.model_fields}
    return {name: value for name, value in found.items() if value}


def _from_files() -> dict[str, object]:
    found = {name: os.environ.get(f"{_variable(name)}_FILE") for name in Settings.secrets}
    return {name: _secret_in(path, _variable(name)) for name, path in found.items() if path}


def _secret_in(path: str, variable: str) -> str:
    if os.environ.get(variable):
        raise InvalidInput(f"{variable} and {variable}_FILE are both set; keep one")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{variable}_FILE names a file that cannot be read") from error


def _variable(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def _database_in(folder: Path) -> str:
    return f"sqlite:///{folder.absolute() / 'tertulia.db'}"


def _told(problem: dict[str, Any]) -> str:
    text = str(problem["msg"]).removeprefix("Value error, ")
    where = problem["loc"]
    return f"{_variable(str(where[0]))}: {text}" if where else text


@lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Whether this host name or address reaches no further than this machine."""
    name = host.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
