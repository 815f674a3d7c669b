"""Fill a template and write the page atomically."""

import json
import os
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from histoquilt.runtime import atomic_file


def write_page(
    path: str | os.PathLike[str],
    template: str,
    *scripts: str,
    links: Mapping[str, str] | None = None,
    **content: Any,
) -> None:
    """Write a self-contained page: ``template`` filled with ``content``, including style and scripts.

    ``links`` are text -> address, shown at the top.
    """
    style, script = Markup(_part("_style.css")), Markup("".join(map(_part, ("_drawing.js", *scripts))))
    page = fill(template, style=style, script=script, links=links or {}, **content)
    with atomic_file(path) as temporary:
        Path(temporary).write_text(page, encoding="utf-8")


def fill(template: str, **content: Any) -> Markup:
    """Return a filled template; text in ``content`` is escaped."""
    return Markup(_environment().get_template(template).render(**content))


def as_json(payload: Any) -> Markup:
    """Return JSON for a script element, escaped so that it cannot end the element or start a comment."""
    text = json.dumps(payload, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _part(name: str) -> str:
    return files("histoquilt.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_part), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["thousands"] = "{:,}".format
    environment.filters["percent"] = lambda share: f"{share:.1%}" if share < 0.1 else f"{share:.0%}"
    environment.filters["p_value"] = lambda p: "< 1e-300" if p < 1e-300 else f"{p:.1e}" if p < 1e-3 else f"{p:.3f}"
    environment.filters["score"] = lambda value: "\u2013" if value is None or value != value else f"{value:.3f}"
    return environment
