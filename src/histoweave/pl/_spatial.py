"""Domains and their confidence drawn on the tissue."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData

from histoweave._checks import check_adata, check_obs_key
from histoweave._keys import Keys
from histoweave.pl._draw import add_colorbar, add_legend, color_by, draw_tissue
from histoweave.pl._palette import UNLABELLED, as_categories, domain_colors
from histoweave.pl._tissue import section_names, warn_overlapping_sections

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def domains(
    adata: AnnData,
    *,
    domain_key: str = Keys.DOMAIN,
    spatial_key: str = Keys.SPATIAL,
    library_key: str | None = None,
    image: bool = True,
    size: float | None = None,
    palette: Sequence[str] | Mapping[str, str] | None = None,
    legend: bool = True,
    alpha: float = 1.0,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw the domains of one section on the tissue.

    Parameters
    ----------
    adata
        One section; only read. ``obs[domain_key]`` holds the domains, ``obsm[spatial_key]`` spot centres ``(x, y)``.
        ``uns["spatial"]`` may hold an image, ``uns["histoweave"]["coordinates"]`` microns per unit for a scale bar.
    domain_key
        Any categorical column of ``obs``.
    spatial_key
        Where the spot centres are.
    library_key
        Column of ``obs`` that names the image of ``uns["spatial"]``; by default ``section`` or ``library_id``.
    image
        Draw the tissue image under the spots where there is one.
    size
        Spot diameter in coordinate units; by default from the distance between neighbours.
    palette
        Colours in the order of the domains, or a dict from domain to colour; by default
        ``uns[f"{domain_key}_colors"]`` where scanpy left it, else :func:`domain_palette`.
    legend
        Name the domains beside the tissue.
    alpha
        Opacity of the spots, 0 to 1; lower it to see the stain through them.
    ax
        Axes to draw into; new ones by default.

    Returns
    -------
    The Axes. Spots without a domain are grey; ``n_spots`` beyond 20,000 are rasterised in vector formats.

    Raises
    ------
    KeyError
        A key is missing.
    ValueError
        The coordinates are unusable, or ``palette`` is too short.

    Warns
    -----
    UserWarning
        ``adata`` holds several sections that lie on top of each other (see :func:`domains_grid`).

    Examples
    --------
    >>> import anndata, numpy as np
    >>> adata = anndata.AnnData(np.ones((4, 1)), obsm={"spatial": np.array([[0, 0], [1, 0], [0, 1], [1, 1]])})
    >>> adata.obs["domain"] = ["1", "1", "2", "2"]
    >>> ax = domains(adata)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['1', '2']
    """
    check_adata(adata)
    check_obs_key(adata, domain_key, argument="domain_key")
    warn_overlapping_sections(adata, spatial_key, library_key)
    colors = domain_colors(adata, domain_key, palette)
    codes = as_categories(adata, domain_key).codes
    faces = np.array([*colors.values(), UNLABELLED])[codes]  # code -1, no domain, takes the last
    ax, _ = draw_tissue(
        adata, ax, spatial_key=spatial_key, library_key=library_key, image=image, size=size, facecolors=faces,
        alpha=alpha,
    )  # fmt: skip
    if legend:
        add_legend(ax, colors, domain_key, unlabelled=UNLABELLED if (codes < 0).any() else None)
    return ax


def domains_grid(
    sections: AnnData | Sequence[AnnData] | Mapping[str, AnnData],
    *,
    section_key: str | None = None,
    domain_key: str = Keys.DOMAIN,
    n_columns: int = 4,
    **arguments: Any,
) -> "np.ndarray":
    """Draw the domains of several sections side by side, in the same colours, with one legend.

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
    import matplotlib.pyplot as plt

    named = _split(sections, section_key)
    for adata in named.values():
        check_obs_key(adata, domain_key, argument="domain_key")
    colors = _shared_colors(list(named.values()), domain_key, arguments.pop("palette", None))
    columns = min(n_columns, len(named))
    rows = -(-len(named) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(3.4 * columns + 1, 3.5 * rows), layout="constrained", squeeze=False
    )
    axes = grid.ravel()
    some_unlabelled = False
    for ax, (name, adata) in zip(axes, named.items(), strict=False):
        domains(adata, domain_key=domain_key, palette=colors, legend=False, ax=ax, **arguments)
        ax.set_title(name, fontsize="medium")
        some_unlabelled |= bool((as_categories(adata, domain_key).codes < 0).any())
    for ax in axes[len(named) :]:
        figure.delaxes(ax)
    # beside the last section of the first row, where the constrained layout keeps room for it
    add_legend(axes[columns - 1], colors, domain_key, unlabelled=UNLABELLED if some_unlabelled else None)
    return axes[: len(named)]


def _split(
    sections: AnnData | Sequence[AnnData] | Mapping[str, AnnData], section_key: str | None
) -> dict[str, AnnData]:
    """Return name -> AnnData of one section each."""
    if isinstance(sections, Mapping):
        named: dict[str, AnnData] = {}
        for name, adata in sections.items():
            parts = _split(adata, section_key)
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


def confidence(
    adata: AnnData,
    *,
    confidence_key: str = Keys.CONFIDENCE,
    spatial_key: str = Keys.SPATIAL,
    library_key: str | None = None,
    image: bool = False,
    size: float | None = None,
    cmap: str = "cividis",
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw how sure the domain of each spot is, on a fixed scale from 0 to 1.

    Parameters
    ----------
    adata
        One section; only read.
    confidence_key
        Column of ``obs`` with numbers in [0, 1].
    spatial_key, library_key, image, size, ax
        As in :func:`domains`.
    cmap
        Name of a matplotlib colour map.

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        A key is missing.
    """
    check_adata(adata)
    check_obs_key(adata, confidence_key, argument="confidence_key")
    warn_overlapping_sections(adata, spatial_key, library_key)
    ax, spots = draw_tissue(adata, ax, spatial_key=spatial_key, library_key=library_key, image=image, size=size)
    color_by(spots, adata.obs[confidence_key].to_numpy(dtype=float), cmap, 0.0, 1.0)
    add_colorbar(ax, spots, "domain confidence")
    return ax
