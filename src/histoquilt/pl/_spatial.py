"""Domains and their confidence drawn on the tissue."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.draw import UNLABELLED, as_categories, domain_colors, warn_overlapping_sections
from histoquilt.pl._draw import add_colorbar, add_legend, color_by, draw_tissue
from histoquilt.study import check_adata, check_obs_key

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
    """Plot the domains of one section on the tissue.

    Parameters
    ----------
    adata
        One section; only read. ``obs[domain_key]`` holds the domains, ``obsm[spatial_key]`` spot centres ``(x, y)``.
        ``uns["spatial"]`` may hold an image, ``uns["histoquilt"]["coordinates"]`` microns per unit for a scale bar.
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
        Axes to plot into; new ones by default.

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


def confidence(
    adata: AnnData,
    *,
    confidence_key: str = Keys.CONFIDENCE,
    spatial_key: str = Keys.SPATIAL,
    library_key: str | None = None,
    image: bool = False,
    size: float | None = None,
    cmap: str = "cividis",
    legend: bool = True,
    ax: "Axes | None" = None,
) -> "Axes":
    """Plot the confidence of the domain of each spot, on a fixed scale from 0 to 1.

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
    legend
        Put a colour bar beside the tissue.

    Returns
    -------
    The Axes.

    Raises
    ------
    KeyError
        A key is missing.

    See Also
    --------
    confidence_grid : several sections.
    """
    check_adata(adata)
    check_obs_key(adata, confidence_key, argument="confidence_key")
    warn_overlapping_sections(adata, spatial_key, library_key)
    ax, spots = draw_tissue(adata, ax, spatial_key=spatial_key, library_key=library_key, image=image, size=size)
    color_by(spots, adata.obs[confidence_key].to_numpy(dtype=float), cmap, 0.0, 1.0)
    if legend:
        add_colorbar(ax, spots, "domain confidence")
    return ax
