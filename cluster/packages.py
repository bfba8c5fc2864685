"""Are `actors`, `cluster` and `store` ours? The names are so general that a folder of the user's may bear one."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from cluster.errors import PackageShadowed

PACKAGES = ("actors", "cluster", "store")
HOME = Path(__file__).resolve().parents[1]


def check() -> None:
    """Raises PackageShadowed if Python finds another package first. Imports nothing."""
    for name in PACKAGES:
        found = found_at(name)
        if found != HOME / name:
            raise PackageShadowed(name, str(found), str(HOME / name))


def check_folder(folder: Path) -> None:
    """Raises PackageShadowed if the folder holds another of these packages: Ray puts the folder in which a driver was
    started in front of everything that its runners import."""
    for name in PACKAGES:
        for found in (folder / name / "__init__.py", folder / f"{name}.py"):
            if found.exists() and folder.resolve() != HOME:
                raise PackageShadowed(name, str(found), str(HOME / name))


def found_at(name: str) -> Path | None:
    """The folder (or file) that `import name` would take; None if there is none."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        return None
    # A folder without __init__.py has no origin, but places where it lies.
    places = list(spec.submodule_search_locations or [])
    return Path(places[0] if places else spec.origin or name).resolve()
