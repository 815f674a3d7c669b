"""Several sections side by side, in the same colours: domains, and how sure they are."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.draw import UNLABELLED, as_categories, domain_colors, section_names
from histoquilt.pl._draw import add_colorbar, add_legend
from histoquilt.pl._spatial import confidence, domains
from histoquilt.study import check_obs_key

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Sections: TypeAlias = AnnData | Sequence[AnnData] | Mapping[str, AnnData]


def domains_grid(
    sections: Sections,
    *,
    section_key: str | None = None,
    domain_key: str = Keys.DOMAIN,
    n_columns: int = 4,
    **arguments: Any,
) -> "np.ndarray":
    """Plot the domains of several sections side by side, in the same colours, with one legend.

    Parameters
    ----------
    sections
        One AnnData whose sections ``obs[section_key]`` names, a list of AnnData, or a dict from name to AnnData.
    section_key
        Column of ``obs``; by default ``section`` or ``library_id``.
    domain_key
        A categorical column that all sections have; equal names get equal colours.
    n_columns
        Sections in one row.
    **arguments
        For :func:`domains`: ``image``, ``size``, ``alpha``, ``palette``, ``spatial_key``.

    Returns
    -------
    One Axes per section, in a one-dimensional array; their figure is ``axes[0].figure``.

    Raises
    ------
    KeyError
        A key is missing.
    ValueError
        There is no section.
    """
    named = split(sections, section_key)
    for adata in named.values():
        check_obs_key(adata, domain_key, argument="domain_key")
    palette = arguments.pop("palette", None)
    colors = (
        domain_colors(sections, domain_key, palette)
        if isinstance(sections, AnnData)
        else _shared_colors(list(named.values()), domain_key, palette)
    )
    arguments = {"library_key": section_key, **arguments}
    axes = section_axes(list(named), n_columns)
    some_unlabelled = False
    for ax, adata in zip(axes, named.values(), strict=True):
        domains(adata, domain_key=domain_key, palette=colors, legend=False, ax=ax, **arguments)
        some_unlabelled |= bool((as_categories(adata, domain_key).codes < 0).any())
    grid_legend(axes, n_columns, colors, domain_key, unlabelled=UNLABELLED if some_unlabelled else None)
    return axes


def confidence_grid(
    sections: Sections,
    *,
    section_key: str | None = None,
    confidence_key: str = Keys.CONFIDENCE,
    n_columns: int = 4,
    **arguments: Any,
) -> "np.ndarray":
    """Plot the confidence of the domains of several sections, side by side, on one scale from 0 to 1.

    Parameters
    ----------
    sections, section_key, n_columns
        As in :func:`domains_grid`.
    confidence_key
        Column of ``obs`` with numbers in [0, 1], in all sections.
    **arguments
        For :func:`confidence`: ``image``, ``size``, ``cmap``, ``spatial_key``.

    Returns
    -------
    One Axes per section, in a one-dimensional array.

    Raises
    ------
    KeyError
        A key is missing.
    ValueError
        There is no section.
    """
    named = split(sections, section_key)
    for adata in named.values():
        check_obs_key(adata, confidence_key, argument="confidence_key")
    arguments = {"library_key": section_key, **arguments}
    axes = section_axes(list(named), n_columns)
    for ax, adata in zip(axes, named.values(), strict=True):
        confidence(adata, confidence_key=confidence_key, legend=False, ax=ax, **arguments)
    add_colorbar(list(axes), axes[0].collections[-1], "domain confidence")
    return axes


def section_axes(titles: Sequence[str], n_columns: int) -> "np.ndarray":
    """Make one Axes for each section, ``n_columns`` in a row."""
    import matplotlib.pyplot as plt

    columns = min(n_columns, len(titles))
    rows = -(-len(titles) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(3.4 * columns + 1, 3.5 * rows), layout="constrained", squeeze=False
    )
    axes = grid.ravel()
    for ax in axes[len(titles) :]:
        figure.delaxes(ax)
    for ax, title in zip(axes, titles, strict=False):
        ax.set_title(title, fontsize="medium")
    return axes[: len(titles)]


def grid_legend(
    axes: "Sequence[Axes] | np.ndarray", n_columns: int, colors: dict[str, str], title: str, *, unlabelled: str | None
) -> None:
    """Put the legend of a grid beside the last section of the first row, where the layout keeps room for it."""
    add_legend(axes[min(n_columns, len(axes)) - 1], colors, title, unlabelled=unlabelled)


def split(sections: Sections, section_key: str | None) -> dict[str, AnnData]:
    """Return name -> AnnData of one section each.

    Raises
    ------
    ValueError
        There is none.
    """
    if isinstance(sections, Mapping):
        named: dict[str, AnnData] = {}
        for name, adata in sections.items():
            parts = split(adata, section_key)
            named |= {f"{name}, {part}" if len(parts) > 1 else str(name): alone for part, alone in parts.items()}
    elif isinstance(sections, AnnData):
        rows = section_names(sections, section_key)
        named = {name: sections[index] for name, index in rows.items()} or {"section": sections}
    else:
        named = {}
        for number, adata in enumerate(sections, start=1):
            own = section_names(adata, section_key)
            name = next(iter(own)) if len(own) == 1 else f"section {number}"
            named[name if name not in named else f"{name} ({number})"] = adata
    if not named:
        raise ValueError("There is no section to draw. Pass an AnnData, or a list or dict of them.")
    return named


def _shared_colors(
    sections: list[AnnData], key: str, palette: Sequence[str] | Mapping[str, str] | None
) -> dict[str, str]:
    """Colours over the categories of all sections, in the order in which the sections list them."""
    names = list(dict.fromkeys(name for adata in sections for name in as_categories(adata, key).categories))
    if all(name.isdigit() for name in names):
        names.sort(key=int)
    # the union as one column, so that a palette is read and checked by the same rules as for a single section
    union = AnnData(obs={key: names}, uns={f"{key}_colors": sections[0].uns.get(f"{key}_colors", [])})
    union.obs[key] = union.obs[key].astype("category").cat.set_categories(names)
    return domain_colors(union, key, palette)
