"""What is written in the files of a deployment, as the tests want to have it."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
COMPOSE: Final = DEPLOY / "compose.yaml"
KUBERNETES: Final = DEPLOY / "kubernetes"
TOOLS: Final = DEPLOY / "tools"
TEMPORARY: Final = "/tmp"  # noqa: S108  # Inside a container.
_COMMENT: Final = re.compile(r"^[ \t]*#.*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction of a Dockerfile, its lines joined."""

    name: str
    rest: str

    @property
    def arguments(self) -> list[str]:
        """What it is given, without flags: a JSON list if it is one, else words."""
        found = _without_flags(self.rest)
        return [str(each) for each in json.loads(found)] if found.startswith("[") else shlex.split(found)

    @property
    def is_exec(self) -> bool:
        """Whether no shell stands between the container and the program."""
        return _without_flags(self.rest).startswith("[")

    @property
    def variables(self) -> dict[str, str]:
        """What ENV, ARG or LABEL sets."""
        pairs = (word.partition("=") for word in shlex.split(self.rest))
        return {name: value for name, _, value in pairs}


def stages(path: Path = ROOT / "Dockerfile") -> list[list[Instruction]]:
    """Return the instructions of each stage; what stands before the first FROM belongs to it."""
    found: list[list[Instruction]] = []
    before: list[Instruction] = []
    for instruction in instructions(path.read_text(encoding="utf-8")):
        if instruction.name == "FROM":
            found.append([*before, instruction])
            before = []
        else:
            (found[-1] if found else before).append(instruction)
    return found


def instructions(text: str) -> Iterator[Instruction]:
    """Yield the instructions of a Dockerfile in order."""
    for line in _COMMENT.sub("", text).replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield Instruction(name=name, rest=rest.strip())


def environment(stage: list[Instruction]) -> dict[str, str]:
    """Return all that a stage sets with ENV."""
    return {name: value for i in stage if i.name == "ENV" for name, value in i.variables.items()}


def only(stage: list[Instruction], name: str) -> Instruction:
    """Return the one instruction of this name."""
    [found] = [instruction for instruction in stage if instruction.name == name]
    return found


def read_yaml(path: Path) -> dict[str, Any]:
    """Return what a file with one document says."""
    told: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return told


def compose() -> dict[str, Any]:
    """Return what compose is told."""
    return read_yaml(COMPOSE)


def objects(*names: str) -> list[dict[str, Any]]:
    """Return the objects in these files for Kubernetes; in all that are part of it, if none is named."""
    files = [KUBERNETES / name for name in names or kustomization()["resources"]]
    return [each for file in files for each in yaml.safe_load_all(file.read_text(encoding="utf-8"))]


def kustomization() -> dict[str, Any]:
    """Return how the files for Kubernetes are put together."""
    return read_yaml(KUBERNETES / "kustomization.yaml")


def laid_over(under: Any, patch: Any) -> Any:  # JSON
    """Return an object of Kubernetes with a patch laid over it: lists of named things go by the names."""
    if isinstance(under, dict) and isinstance(patch, dict):
        return under | {key: laid_over(under.get(key), value) for key, value in patch.items()}
    if not (isinstance(under, list) and isinstance(patch, list)):
        return patch
    names = [each["name"] for each in patch]
    known = {each["name"]: each for each in under}
    kept = [each for each in under if each["name"] not in names]
    return kept + [laid_over(known.get(each["name"]), each) for each in patch]


def variables(path: Path) -> dict[str, str]:
    """Return what a file with a variable in each line sets."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def pins(path: Path) -> dict[str, set[str]]:
    """Return each package that a lock pins, with its version, and the hashes that it may have."""
    found: dict[str, set[str]] = {}
    hashes: set[str] = set()
    for line in path.read_text(encoding="utf-8").splitlines():
        if "==" in line:
            hashes = found.setdefault(re.split(r"[ ;\\]", line)[0], set())
        else:
            hashes.update(re.findall(r"--hash=(\S+)", line))
    return found


def _without_flags(rest: str) -> str:
    return re.sub(r"^(--\S+\s+)+(CMD\s+)?", "", rest)
