"""The house rules that no other tool measures."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import tertulia

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "tertulia"
MODULES = sorted(PACKAGE.rglob("*.py"))
FORBIDDEN_WORDS = frozenset({"Manager", "Service", "Helper", "Util", "Handler", "Data", "Info", "Process"})
IMPORTED = ("database", "knowledge", "local", "mcp", "providers", "tokens")
"""Extras that are imported by modules which are themselves imported only where they are needed."""
KNOWN_NAMES = frozenset({"ServiceHistoryProvider"})
"""What others have called so, and people look for."""
FORBIDDEN_NAMES = frozenset({"data", "info", "process", "handle", "manage"})
HEAVY = frozenset({"aiohttp", "alembic", "asyncpg", "fastapi", "pydantic", "sqlalchemy", "typer", "uvicorn"})
NAMED_OTHERWISE = {"dotenv": "python_dotenv", "pydantic_ai": "pydantic_ai_slim"}
MAX_LINES, MAX_METHODS, MAX_PROMISED = 400, 12, 40

each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))


def dotted(path: Path) -> str:
    """Return the name under which a module is imported."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(node: ast.AST) -> Iterator[str]:
    """Yield the names of the modules that a statement imports, and of what is taken from them."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_ours(name: str) -> bool:
    return name.partition(".")[0] == "tertulia"


@each_module
def test_a_module_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@each_module
def test_a_module_says_in_its_first_line_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(tree_of(path)) or ""

    assert re.fullmatch(r"\S.*[.:]", docstring.partition("\n")[0]), "one sentence, or the start of a list"


@each_module
def test_our_own_modules_are_imported_late_by_the_registry_only(path: Path) -> None:
    functions = (n for n in ast.walk(tree_of(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))

    late = {name for f in functions for node in ast.walk(f) for name in imported(node) if is_ours(name)}
    by_name = {name for node in ast.walk(tree_of(path)) for name in imported(node) if "import_module" in name}

    assert not late
    assert not by_name or path.name == "registry.py"


@each_module
def test_names_say_that_somebody_decided(path: Path) -> None:
    nodes = list(ast.walk(tree_of(path)))
    classes = {n.name for n in nodes if isinstance(n, ast.ClassDef)}
    functions = {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}

    vague = {name for name in classes - KNOWN_NAMES if FORBIDDEN_WORDS & set(re.findall("[A-Z][a-z]+", name))}
    assert not vague
    assert not functions & FORBIDDEN_NAMES
    assert not {name for name in classes | functions | {path.stem} if re.search(r"_v\d+$|V\d+$", name)}
    assert not {"utils", "helpers", "managers", "handlers", "common", "misc"} & set(
        path.with_suffix("").parts
    )


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.name)
def test_no_module_is_named_like_a_standard_one(path: Path) -> None:
    assert path.stem.startswith("__") or path.stem not in sys.stdlib_module_names


PORTS = [*sorted(PACKAGE.rglob("base.py")), PACKAGE / "stores" / "ledger.py"]


@pytest.mark.parametrize("path", PORTS, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_a_port_is_small(path: Path) -> None:
    classes = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.ClassDef)]
    ports = [c for c in classes if any(isinstance(b, ast.Name) and b.id == "Protocol" for b in c.bases)]

    methods = {
        p.name: sum(isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) for n in p.body) for p in ports
    }

    assert ports
    assert all(count <= MAX_METHODS for count in methods.values()), methods


@pytest.mark.parametrize("room", ["stores", "llms", "hints"])
def test_plugs_are_chosen_by_name_and_never_imported_by_other_rooms(room: str) -> None:
    named = ast.walk(tree_of(PACKAGE / room / "__init__.py"))
    texts = [n.value for n in named if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    plugs = {text.partition(":")[0] for text in texts if re.fullmatch(rf"tertulia\.{room}\.[\w.]+:\w+", text)}

    others = [path for path in MODULES if path.relative_to(PACKAGE).parts[0] not in (room, "testing")]
    known = {
        (dotted(path), name)
        for path in others
        for node in ast.walk(tree_of(path))
        for name in imported(node)
        if name in plugs
    }

    assert plugs
    assert not known


def test_the_promise_is_small_and_kept() -> None:
    assert len(tertulia.__all__) <= MAX_PROMISED
    assert sorted(tertulia.__all__) == list(tertulia.__all__)
    for name in tertulia.__all__:
        assert getattr(tertulia, name) is not None
    assert set(tertulia.__all__) <= set(dir(tertulia))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Manager'"):
        _ = tertulia.Manager


def test_importing_the_package_imports_little() -> None:
    probe = "import sys, tertulia; print(*{name.partition('.')[0] for name in sys.modules})"

    loaded = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )

    assert not HEAVY & set(loaded.stdout.split())


def test_the_limits_of_the_style_guide_are_configured() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]

    assert tools["ruff"]["line-length"] == 110
    assert tools["ruff"]["lint"]["mccabe"]["max-complexity"] == 8
    assert tools["ruff"]["lint"]["pylint"]["max-args"] == 6
    assert tools["mypy"]["strict"] is True
    assert tools["importlinter"]["contracts"][0]["exhaustive"] is True


def test_what_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    core, testing = (
        [*project["dependencies"], *(each for name in IMPORTED for each in extras[name])],
        extras["testing"],
    )

    for path in MODULES:
        demanded = [*core, *testing] if "testing" in path.relative_to(PACKAGE).parts else core
        declared = {re.split(r"[ \[<>=;]", demand)[0].replace("-", "_") for demand in demanded}
        roots = {name.partition(".")[0] for node in ast.walk(tree_of(path)) for name in imported(node)}
        foreign = roots - sys.stdlib_module_names - {"tertulia"}
        assert {NAMED_OTHERWISE.get(name, name) for name in foreign} <= declared, path


def test_no_file_names_a_package_registry() -> None:
    addresses = re.compile(r"(?:files\.python|pypi)\S*\.org|registry\.npmjs|index-url\s*=|find-links")
    files = [
        ROOT / "requirements.lock",
        ROOT / "pyproject.toml",
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
    ]

    assert [f.name for f in files if addresses.search(f.read_text(encoding="utf-8"))] == []
