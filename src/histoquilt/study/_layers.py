"""The layers of a section that have a name."""

from typing import Any

from anndata import AnnData


def named_layers(adata: AnnData) -> dict[str, Any]:
    """Return name -> layer, without ``X``, which anndata 0.13 and newer hold among the layers as ``None``.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.study import named_layers
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> adata.layers["counts"] = adata.X
    >>> list(named_layers(adata))
    ['counts']
    """
    return {name: adata.layers[name] for name in adata.layers if name is not None}
