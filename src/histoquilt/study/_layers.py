"""The layers of a section that have a name."""

from typing import Any

from anndata import AnnData


def named_layers(adata: AnnData) -> dict[str, Any]:
    """Return name -> layer, without ``X``, which anndata 0.13 and newer hold among the layers as ``None``."""
    return {name: adata.layers[name] for name in adata.layers if name is not None}
