"""Markers of the domains that ``histoquilt domains`` found; where there can be none, domains are written without."""

from typing import TYPE_CHECKING

from histoquilt._base import Keys
from histoquilt.cli._errors import one_line
from histoquilt.runtime import warn_user

if TYPE_CHECKING:
    from anndata import AnnData


def add_markers(adata: "AnnData", layer: str | None) -> bool:
    """Write markers into a section and return whether there are any; warn where they are left out."""
    from histoquilt import tl
    from histoquilt.study import keep_foreign

    if keep_foreign(adata, "uns", Keys.MARKERS) is None:
        adata.uns.pop(Keys.MARKERS, None)  # of other domains, of an earlier run
    if not adata.n_vars:
        return False
    try:
        tl.domain_markers(adata, layer=layer)
    except ValueError as error:
        warn_user(f"Markers are left out; the domains are written. {one_line(error)}")
        return False
    return True
