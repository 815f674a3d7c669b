"""The picture and the table of the rooms are those of the code."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "docs" / "make_architecture.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_architecture", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_they_are_current(script):
    graph = script.imports()
    assert script.PICTURE.read_text(encoding="utf-8") == script.picture(graph), "run: make architecture"
    assert script.PAGE.read_text(encoding="utf-8") == script.page(graph), "run: make architecture"


def test_a_room_stands_above_what_it_imports(script):
    graph = {"top": {"middle", "low"}, "middle": {"low"}, "low": set(), "alone": {"low"}}
    assert script.levels(graph) == {"top": 2, "middle": 1, "alone": 1, "low": 0}
    assert script.shortest(graph)["top"] == {"middle"}  # low is reached through middle
    height = {room: y for room, (_, y) in script.places(graph).items()}
    assert height["top"] < height["middle"] == height["alone"] < height["low"]
    assert 'marker-end="url(#tip)"' in script.picture(graph)
