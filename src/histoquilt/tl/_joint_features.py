"""What sections look like to the network before it is trained: spatial factors, smoothed within each section."""

import numpy as np
import torch
from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.models import SpaMaskConfig, SpaMaskInputs
from histoquilt.nn import UndirectedGraph, smooth_by_hops


def smooth_factors(
    adata: AnnData, config: SpaMaskConfig, *, layer: str | None, use_rep: str | None, section_key: str | None
) -> np.ndarray:
    """Return the network's input averaged over the graph in ``obsp``, ``(n_spots, n_inputs)`` float32.

    Each spatial factor is averaged as often as it bears; where the config asks for none, features are averaged once.
    """
    sections = None
    if section_key is not None and config.scale_by_section:
        sections = adata.obs[section_key].astype(str).to_numpy()
    adjacency = adata.obsp[Keys.CONNECTIVITIES]
    inputs, values = SpaMaskInputs.fit(adata, adjacency, config, layer=layer, use_rep=use_rep, sections=sections)
    hops = np.ones(values.shape[1], np.int32) if inputs.hops is None else inputs.hops
    averaging = UndirectedGraph(adjacency).averaging
    return smooth_by_hops(torch.from_numpy(values), averaging, torch.from_numpy(hops)).numpy()
