"""Starts and stops a server, with every module of ours loaded, and prints which packages that took."""

import asyncio
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final

import tertulia
from tertulia.app import App
from tertulia.server.factory import create_app
from tertulia.settings import Settings

_NOT_ALONE: Final = ("testing/", "__main__.py", "stores/sql/migrations/env.py")
"""What needs a test, or somebody who started it."""
_ALWAYS_THERE: Final = "_distutils_hack"
"""Loaded by the environment itself, if it has setuptools."""


def modules() -> Iterator[str]:
    """Yield the names of our modules."""
    [package] = map(Path, tertulia.__path__)
    for file in package.rglob("*.py"):
        inside = file.relative_to(package)
        if not inside.as_posix().startswith(_NOT_ALONE) and inside.parent.name != "versions":
            yield ".".join(["tertulia", *inside.with_suffix("").parts]).removesuffix(".__init__")


async def start(folder: Path) -> None:
    """Make a database and serve nobody."""
    app = App(Settings(data_dir=folder, model="scripted:echo"))
    create_app(app)
    await app.start()
    await app.stop()


def loaded() -> set[str]:
    """Return the packages whose modules are there."""
    packages = packages_distributions()
    names = {name.partition(".")[0] for name in sys.modules} - {_ALWAYS_THERE}
    return {package.lower().replace("_", "-") for name in names for package in packages.get(name, ())}


def main() -> None:
    """Print the packages, one in a line."""
    for name in modules():
        import_module(name)
    asyncio.run(start(Path(sys.argv[1])))
    sys.stdout.writelines(f"{name}\n" for name in sorted(loaded()))


if __name__ == "__main__":
    main()
