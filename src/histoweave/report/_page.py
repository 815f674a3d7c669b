"""Write the page: gather, fill the template, put it into place."""

import json
import os
from collections.abc import Mapping
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from anndata import AnnData
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from histoweave._atomic import atomic_file
from histoweave._checks import check_adata
from histoweave._keys import Keys
from histoweave.report._facts import run_facts
from histoweave.report._gather import MAX_SPOTS, gather
from histoweave.report._map import fair_shares


def write_report(
    sections: AnnData | Mapping[str, AnnData],
    path: str | os.PathLike[str],
    *,
    title: str = "Tissue domains",
    run: Mapping[str, Any] | None = None,
    domain_key: str = Keys.DOMAIN,
    spatial_key: str = Keys.SPATIAL,
    section_key: str | None = None,
    layer: str | None = None,
) -> None:
    """Write one HTML file that shows the domains of one or several sections.

    Parameters
    ----------
    sections
        One AnnData, or a dict from name to AnnData; only read. ``obs[domain_key]`` and ``obsm[spatial_key]`` are
        needed. Shown where present: the image in ``uns["spatial"]``, ``obs["domain_confidence"]``,
        ``uns["domain_markers"]``, ``obsm["denoised"]``, and the training history and parameters in
        ``uns["histoweave"]``.
    path
        The file to write, complete or not at all. An earlier one is replaced.
    title
        Headline of the page.
    run
        What ``run.json`` holds: version, seed, wall time, peak memory, input digests, warnings. Unknown entries are
        listed as they are.
    domain_key, spatial_key
        Where domains and spot centres are.
    section_key
        Column of ``obs`` that tells several sections of one AnnData apart; by default ``section`` or ``library_id``.
    layer
        Layer with the counts; by default ``layers["counts"]``, else ``X``.

    Raises
    ------
    TypeError
        A section is no AnnData.
    KeyError
        A section has no domains or no coordinates.
    ValueError
        There is no section, or coordinates are unusable.

    Notes
    -----
    All sections together draw at most 100,000 spots; of larger ones an evenly drawn sample is shown, and the page says
    so. Tables always count every spot. For the same input and ``run`` the page is the same to the byte.
    """
    named = {"": sections} if isinstance(sections, AnnData) else {str(name): adata for name, adata in sections.items()}
    if not named:
        raise ValueError("There is no section to report on. Pass an AnnData, or a dict from name to AnnData.")
    for adata in named.values():
        check_adata(adata)
    budgets = fair_shares([adata.n_obs for adata in named.values()], MAX_SPOTS)
    read = partial(gather, domain_key=domain_key, spatial_key=spatial_key, section_key=section_key, layer=layer)
    groups = [read(adata, name, number, budgets[number]) for number, (name, adata) in enumerate(named.items())]
    page = _template().render(
        title=title,
        groups=groups,
        facts=run_facts(list(named.values()), run or {}),
        n_spots=sum(group.n_spots for group in groups),
        n_sections=sum(len(group.maps) for group in groups),
        style=Markup(_part("_style.css")),
        script=Markup(_part("_script.js")),
        data=_json([group.payload() for group in groups]),
    )
    with atomic_file(path) as beside:
        Path(beside).write_text(page, encoding="utf-8")


def _part(name: str) -> str:
    return files("histoweave.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _template() -> Any:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["thousands"] = "{:,}".format
    environment.filters["percent"] = lambda share: f"{share:.1%}" if share < 0.1 else f"{share:.0%}"
    environment.filters["p_value"] = lambda p: "< 1e-300" if p < 1e-300 else f"{p:.1e}" if p < 1e-3 else f"{p:.3f}"
    return environment.from_string(_part("_template.html"))


def _json(payload: Any) -> Markup:
    """JSON that can stand inside a script element: no character of it can end the element or start a comment."""
    text = json.dumps(payload, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
