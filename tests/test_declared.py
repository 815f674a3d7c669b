"""What is imported is declared."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import histoquilt

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
COMES_WITH = {"mpl_toolkits": "matplotlib"}


def test_every_package_that_is_imported_is_a_dependency():
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = [one for group in project["optional-dependencies"].values() for one in group]
    declared = {re.match(r"[\w.-]+", one)[0].lower() for one in [*project["dependencies"], *extras]}
    known = {name: {package.lower() for package in packages} for name, packages in packages_distributions().items()}
    missing = set()
    for path in Path(histoquilt.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in {name.split(".")[0] for name in names} - {"histoquilt", "__future__"} - sys.stdlib_module_names:
                packages = known.get(COMES_WITH.get(name, name), {name.lower()})
                if not packages & declared:
                    missing.add(f"{path.name}: {name}")
    assert not missing
