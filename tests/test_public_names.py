"""Every public name is on the API page."""

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "docs" / "make_api_page.py"


def test_the_api_page_is_that_of_the_rooms():
    spec = importlib.util.spec_from_file_location("make_api_page", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "run: make api"
    rooms = {path.parent.name for path in script.ROOT.glob("*/__init__.py")}
    assert set(script.FOR_USERS + script.FOR_DEVELOPERS) == rooms
