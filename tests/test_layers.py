"""The one rule of the house: imports go downwards (DESIGN.md, "The house")."""

import ast
from pathlib import Path

import histoquilt

ROOT = Path(histoquilt.__file__).parent
LEVEL = {
    "nn": 1, "metrics": 1,
    "io": 2, "datasets": 2, "pp": 2, "gr": 2, "im": 2,
    "train": 3, "models": 4, "tl": 5, "pl": 5, "report": 6, "cli": 6,
}  # fmt: skip
NO_TORCH = {"metrics", "io", "datasets", "pp", "gr", "pl", "report"}
NO_ANNDATA = {"nn", "metrics"}


def room_of(module: str) -> str | None:
    """The room of ``histoquilt.room._file``, or None for a level-0 file."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LEVEL else None


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the full name"
            found.add(node.module)
            if node.module == "histoquilt":
                found |= {f"histoquilt.{alias.name}" for alias in node.names}
    return found


def violations(path: Path, here: str | None) -> list[str]:
    found = []
    for module in imported_modules(path):
        top = module.split(".")[0]
        if (here in NO_TORCH and top == "torch") or (here in NO_ANNDATA and top == "anndata"):
            found.append(f"{path.name} in {here} imports {module}")
        if top != "histoquilt":
            continue
        there = room_of(module)
        if there is None or there == here:
            continue
        allowed = here is not None and (
            LEVEL[there] < LEVEL[here] or (here, there) in {("datasets", "io"), ("cli", "report")}
        )
        if not allowed:
            found.append(f"{path.name} in {here or 'level 0'} imports upwards: {module}")
    return found


def test_imports_go_downwards():
    found = []
    for path in ROOT.rglob("*.py"):
        relative = path.relative_to(ROOT)
        here = relative.parts[0] if len(relative.parts) > 1 else None
        if (relative.name == "__init__.py" and here is None) or relative.name == "__main__.py":
            continue  # the front door names every room
        assert here is None or here in LEVEL, f"{relative}: a room that DESIGN.md does not know"
        found += violations(path, here)
    assert not found, "\n".join(found)


def test_an_upward_import_is_caught(tmp_path):
    bad = tmp_path / "_bad.py"
    bad.write_text("from histoquilt.models import SpaMask\nimport torch\n")
    assert len(violations(bad, "gr")) == 2
