"""The images of a section: the libraries of ``uns["spatial"]``, as scanpy and cellxgene store them."""

from collections.abc import Mapping
from typing import Any

from anndata import AnnData

from histoquilt._base import Keys


def image_libraries(adata: AnnData) -> dict[str, Mapping[str, Any]]:
    """Return the libraries of ``uns["spatial"]``, without other entries such as ``is_single`` of cellxgene.

    Examples
    --------
    >>> from anndata import AnnData
    >>> from histoquilt.study import image_libraries
    >>> adata = AnnData(uns={"spatial": {"V1": {"images": {}}, "is_single": True}})
    >>> image_libraries(adata)
    {'V1': {'images': {}}}
    """
    stored = adata.uns.get(Keys.SPATIAL)
    if not isinstance(stored, Mapping):
        return {}
    return {str(name): library for name, library in stored.items() if isinstance(library, Mapping)}


def library_part(library: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    """Return ``images`` or ``scalefactors`` of a library, empty if it has none.

    Examples
    --------
    >>> from histoquilt.study import library_part
    >>> library = {"scalefactors": {"tissue_hires_scalef": 0.2}}
    >>> library_part(library, "scalefactors"), library_part(library, "images")
    ({'tissue_hires_scalef': 0.2}, {})
    """
    found = library.get(part)
    return found if isinstance(found, Mapping) else {}
