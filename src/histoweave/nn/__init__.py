"""Torch building blocks: tensors in, tensors out; nothing here knows AnnData."""

from histoweave.nn._decoder_weight import weigh_decoder
from histoweave.nn._gcn import GCNEncoder, GCNLayer
from histoweave.nn._graph import UndirectedGraph
from histoweave.nn._losses import edge_contrast, scaled_cosine_error
from histoweave.nn._masked_autoencoder import MaskedGraphAutoencoder, MaskedLosses
from histoweave.nn._masks import draw_mask
from histoweave.nn._precision import product_dtype
from histoweave.nn._smoothing import smooth_by_hops
from histoweave.nn._sparse import Propagation

__all__ = [
    "GCNEncoder",
    "GCNLayer",
    "MaskedGraphAutoencoder",
    "MaskedLosses",
    "Propagation",
    "UndirectedGraph",
    "draw_mask",
    "edge_contrast",
    "product_dtype",
    "scaled_cosine_error",
    "smooth_by_hops",
    "weigh_decoder",
]
