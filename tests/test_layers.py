"""The rules of the house (DESIGN.md): imports go downwards and through front doors; private methods stay private."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import histoquilt

ROOT = Path(histoquilt.__file__).parent
# a room sees those before it in this order
ROOMS = [
    "_base", "runtime", "study", "metrics", "nn", "io", "datasets", "gr", "pp", "im", "train", "cluster", "align",
    "models", "evaluate", "tl", "draw", "pl", "report", "jobs", "cli",
]  # fmt: skip
# what importing a room must not load, however many files further down
WITHOUT = {
    "_base": ["anndata", "torch", "scanpy"],
    "runtime": ["anndata", "torch", "scanpy", "dask"],
    "metrics": ["anndata", "torch", "scanpy", "dask"],
    "nn": ["anndata", "scanpy", "dask"],
    "io": ["torch"],
    "datasets": ["torch"],
    "pp": ["torch"],
    "gr": ["torch"],
    "train": ["torch"],
    "align": ["torch"],
    "models": ["torch", "scanpy"],
    "evaluate": ["torch"],
    "tl": ["torch"],
    "draw": ["torch"],
    "pl": ["torch"],
    "report": ["torch"],
    "jobs": ["anndata", "torch", "scanpy", "dask"],
    "cli": ["anndata", "torch", "scanpy", "dask"],
}


def imported_modules(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and module of every import, of ``from histoquilt import room`` the room."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "."
            elif node.module == "histoquilt":
                yield from ((node.lineno, f"histoquilt.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module


def strange_imports(tree: ast.AST, here: str) -> Iterator[str]:
    for line, module in imported_modules(tree):
        top, *rest = module.split(".")
        if module == ".":
            yield f"{line}: a relative import; write the full name"
        elif top == "histoquilt" and rest and rest[0] in ROOMS and rest[0] != here:
            if ROOMS.index(rest[0]) > ROOMS.index(here):
                yield f"{line}: {here} imports upwards, {module}"
            if len(rest) > 1:
                yield f"{line}: {module} is private; import from histoquilt.{rest[0]}"


def foreign_methods(tree: ast.AST, text: str) -> Iterator[str]:
    """Yield calls of a private method of an object whose class is written in another file."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        name, owner = node.func.attr, node.func.value
        if not isinstance(owner, ast.Name) or not name.startswith("_") or name.startswith("__"):
            continue
        if owner.id not in ("self", "cls", "os", "sys") and f"def {name}" not in text:
            yield f"{node.lineno}: {owner.id}.{name}() belongs to another file"


def test_the_rules_hold_in_every_file():
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        relative = path.relative_to(ROOT)
        if len(relative.parts) == 1:
            assert relative.name in {"__init__.py", "__main__.py"}, f"{relative} lies in no room"
            continue
        here = relative.parts[0]
        assert here in ROOMS, f"{relative}: a room that DESIGN.md does not know"
        text = path.read_text()
        tree = ast.parse(text)
        found += [f"{relative}:{told}" for told in (*strange_imports(tree, here), *foreign_methods(tree, text))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("from histoquilt.models import SpaMask", "imports upwards"),
        ("from histoquilt import tl", "imports upwards"),
        ("def f():\n    import histoquilt.cli", "imports upwards"),
        ("from histoquilt.study._checks import check_adata", "is private"),
        ("from histoquilt.nn.graph import GCN", "is private"),
        ("from ._adjacency import knn_adjacency", "relative"),
    ],
)
def test_a_strange_import_is_caught(line, told):
    assert any(told in found for found in strange_imports(ast.parse(line), "gr"))


def test_a_call_of_what_is_anothers_is_caught():
    for text, n in (("model._trained()", 1), ("self._trained()", 0), ("def _f(): ...\nother._f()", 0)):
        assert len(list(foreign_methods(ast.parse(text), text))) == n


# one process imports many rooms, the strictest first; nn, which loads torch, has its own
@pytest.mark.parametrize("rooms", [["nn"], sorted(WITHOUT.keys() - {"nn"}, key=lambda it: (-len(WITHOUT[it]), it))])
def test_a_room_does_not_load_what_it_does_not_need(rooms):
    code = f"""
import importlib, sys
for room, without in {[(room, WITHOUT[room]) for room in rooms]!r}:
    importlib.import_module(f"histoquilt.{{room}}")
    print(room, [name for name in without if name in sys.modules])
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == [f"{room} []" for room in rooms]


@pytest.mark.parametrize("room", ROOMS)
def test_the_front_door_lists_what_it_lets_in(room):
    tree = ast.parse((ROOT / room / "__init__.py").read_text())
    imported = {  # some of them only for type checkers: those are loaded on first use
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("histoquilt")
        for alias in node.names
    }
    [listed] = [node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"]
    names = {element.value for element in listed.elts}
    assert imported == names
    assert names <= set(dir(importlib.import_module(f"histoquilt.{room}")))
