"""Every public name is on a page of the documentation."""

import ast
import re
from pathlib import Path

import pytest

import histoquilt

ROOT = Path(histoquilt.__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "api.md"


def public_names(room):
    tree = ast.parse((ROOT / room / "__init__.py").read_text())
    [listed] = [node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"]
    return [element.value for element in listed.elts]


@pytest.mark.parametrize("room", sorted(path.parent.name for path in ROOT.glob("*/__init__.py")))
def test_the_api_page_lists_every_name_of_a_room_and_no_other(room):
    text = PAGE.read_text()
    section = re.search(rf"^### histoquilt\.{room}\n(.*?)(?=^##|\Z)", text, re.M | re.S)
    assert section, f"docs/api.md has no section on histoquilt.{room}"
    listed = re.findall(r"^   (\w+)$", section[1], re.M)
    constants = re.search(r"^Constants and types: (.*)\.$", section[1], re.M)
    listed += re.findall(r"`(\w+)`", constants[1]) if constants else []
    assert sorted(listed) == sorted(public_names(room))
