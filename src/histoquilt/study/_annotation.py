"""The annotation by which results of a section are judged."""

from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.study._written import is_ours


def annotation_key(adata: AnnData, label_key: str | None = None) -> str | None:
    """Return the column of ``obs`` with the annotation: ``label_key``, by default what ``annotate_spots`` wrote.

    None if the section has no such column.
    """
    if label_key is not None:
        return label_key if label_key in adata.obs else None
    return Keys.ANNOTATION if is_ours(adata, "obs", Keys.ANNOTATION) and Keys.ANNOTATION in adata.obs else None
