"""Torch building blocks: tensors in, tensors out; nothing here knows AnnData."""

from histoquilt.nn._contrastive import contrastive_loss
from histoquilt.nn._coordinate_encoding import CoordinateEncoding
from histoquilt.nn._cross_attention import CrossNodeAttention, CrossNodeReadout
from histoquilt.nn._dropout import complementary_masks, dropout, hide
from histoquilt.nn._ema import momentum_update
from histoquilt.nn._losses import cosine_loss, gene_correlation_loss, scaled_cosine_error
from histoquilt.nn._masked_autoencoder import MaskedGraphAutoencoder, MaskedLosses
from histoquilt.nn._precision import product_dtype
from histoquilt.nn._projection_head import ProjectionHead
from histoquilt.nn._residual_cnn import ResidualCNN
from histoquilt.nn._retrieval import Nearest, nearest_references
from histoquilt.nn._spot_transformer import SpotTransformer
from histoquilt.nn.graph._edge_softmax import MultiHeadEdgeAttention, edge_attention, edge_softmax
from histoquilt.nn.graph._edges import Edges
from histoquilt.nn.graph._gcn import GCNEncoder, GCNLayer
from histoquilt.nn.graph._heterograph import HeteroGraph, HeteroLayer, InputBlock
from histoquilt.nn.graph._sage import SAGELayer, mean_propagation
from histoquilt.nn.graph._sparse import Propagation
from histoquilt.nn.tiles._tile_draws import TileDraws
from histoquilt.nn.tiles._tile_graph import TileGraph

__all__ = [
    "CoordinateEncoding", "CrossNodeAttention", "CrossNodeReadout", "Edges", "GCNEncoder", "GCNLayer", "HeteroGraph",
    "HeteroLayer", "InputBlock", "MaskedGraphAutoencoder", "MaskedLosses", "MultiHeadEdgeAttention", "Nearest",
    "ProjectionHead", "Propagation", "ResidualCNN", "SAGELayer", "SpotTransformer", "TileDraws", "TileGraph",
    "complementary_masks", "contrastive_loss", "cosine_loss", "dropout", "edge_attention", "edge_softmax",
    "gene_correlation_loss", "hide", "mean_propagation", "momentum_update", "nearest_references", "product_dtype",
    "scaled_cosine_error",
]  # fmt: skip
