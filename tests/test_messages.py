"""The page of messages has what the code says."""

import ast
import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "docs" / "make_messages.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_messages", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_holds_the_messages_of_every_room(script):
    page = script.page()
    assert "- `n_domains must be at least 1, got <n_domains>.`\n" in page
    assert "- `'<spatial_key>' is not in adata.obsm (found: <...>)." in page  # MissingKey, put together
    assert "- `<path> already holds results. Choose another folder, or pass overwrite=<...>.`\n" in page
    assert "### Warning in io" in page
    assert page.count("\n- ") > 700


def test_what_is_filled_in_is_shown_by_name(script):
    code = """
def check(value, names):
    if not names:
        raise ValueError(f"got {len(names)} of {listed(value.names, 3)}; pass {argument('layer')}")
    text = "all " "wrong" if value else f"some {other.thing[0]}"
    warn_user(text)
    raise KeyError(either("in Python", "at the command") + f" {value + 1}")
"""
    found = set(script._of_module(ast.parse(code)))
    assert found == {
        ("ValueError", "got <number> of <names>; pass layer="),
        ("Warning", "all wrong"),
        ("Warning", "some <thing>"),
        ("KeyError", "in Python <...>"),
    }


def test_advice_on_a_message_that_is_gone_is_an_error(script, monkeypatch):
    monkeypatch.setattr(script, "COMMON", {"words that nothing says": ("", "")})
    with pytest.raises(ValueError, match="words that nothing says"):
        script.page()


def test_an_exception_class_without_advice_is_an_error(script, monkeypatch):
    monkeypatch.delitem(script.CLASSES, "WriteError")
    monkeypatch.setattr(script, "_is_exception", lambda name: name.endswith("Error"))
    with pytest.raises(ValueError, match="WriteError"):
        script.page()
