"""Every public name is on the API page, with an example."""

import importlib.util
import inspect
from importlib import import_module
from pathlib import Path

import pytest

import histoquilt

SCRIPT = Path(__file__).parents[1] / "docs" / "make_api_page.py"
ROOMS = sorted(path.parent.name for path in Path(histoquilt.__file__).parent.glob("*/__init__.py"))


def test_the_api_page_is_that_of_the_rooms():
    spec = importlib.util.spec_from_file_location("make_api_page", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "run: make api"
    rooms = {path.parent.name for path in script.ROOT.glob("*/__init__.py")}
    assert set(script.FOR_USERS + script.FOR_DEVELOPERS) == rooms


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_function_and_class_has_an_example_that_runs(room):
    module = import_module(f"histoquilt.{room}")
    public = {name: getattr(module, name) for name in module.__all__}
    without = [
        name
        for name, value in public.items()
        if (inspect.isroutine(value) or inspect.isclass(value)) and not _runs_something(inspect.getdoc(value) or "")
    ]
    assert not without, f"histoquilt.{room}: no example, or none that runs"


def _runs_something(doc):
    """Whether an example does more than importing, or what is skipped."""
    lines = [line.removeprefix(">>> ") for line in map(str.strip, doc.splitlines()) if line.startswith(">>> ")]
    return any("+SKIP" not in line and not line.startswith(("import ", "from ")) for line in lines)
