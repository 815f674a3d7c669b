"""Torch building blocks: tensors in, tensors out; nothing here knows AnnData."""

from histoweave.nn._contrastive import contrastive_loss
from histoweave.nn._coordinate_encoding import CoordinateEncoding
from histoweave.nn._cross_attention import CrossNodeAttention, CrossNodeReadout
from histoweave.nn._decoder_weight import weigh_decoder, weigh_decoder_on_tiles
from histoweave.nn._dropout import dropout
from histoweave.nn._edge_softmax import MultiHeadEdgeAttention, edge_attention, edge_softmax
from histoweave.nn._edges import Edges
from histoweave.nn._ema import momentum_update
from histoweave.nn._gcn import GCNEncoder, GCNLayer
from histoweave.nn._graph import UndirectedGraph
from histoweave.nn._heterograph import HeteroGraph, HeteroLayer, InputBlock
from histoweave.nn._losses import cosine_loss, edge_contrast, gene_correlation_loss, scaled_cosine_error
from histoweave.nn._losses_on_tiles import LossesOnTiles
from histoweave.nn._masked_autoencoder import MaskedGraphAutoencoder, MaskedLosses
from histoweave.nn._masks import complementary_masks, draw_mask, hide
from histoweave.nn._precision import product_dtype
from histoweave.nn._projection_head import ProjectionHead
from histoweave.nn._residual_cnn import ResidualCNN
from histoweave.nn._retrieval import Nearest, inverse_square_weights, nearest_references
from histoweave.nn._sage import SAGELayer, mean_propagation
from histoweave.nn._smoothing import smooth_by_hops
from histoweave.nn._sparse import Propagation
from histoweave.nn._spot_transformer import SpotTransformer
from histoweave.nn._tile_draws import TileDraws
from histoweave.nn._tile_graph import TileGraph

__all__ = [
    "CoordinateEncoding",
    "CrossNodeAttention",
    "CrossNodeReadout",
    "Edges",
    "GCNEncoder",
    "GCNLayer",
    "HeteroGraph",
    "HeteroLayer",
    "InputBlock",
    "LossesOnTiles",
    "MaskedGraphAutoencoder",
    "MaskedLosses",
    "MultiHeadEdgeAttention",
    "Nearest",
    "ProjectionHead",
    "Propagation",
    "ResidualCNN",
    "SAGELayer",
    "SpotTransformer",
    "TileDraws",
    "TileGraph",
    "UndirectedGraph",
    "complementary_masks",
    "contrastive_loss",
    "cosine_loss",
    "draw_mask",
    "dropout",
    "edge_attention",
    "edge_contrast",
    "edge_softmax",
    "gene_correlation_loss",
    "hide",
    "inverse_square_weights",
    "mean_propagation",
    "momentum_update",
    "nearest_references",
    "product_dtype",
    "scaled_cosine_error",
    "smooth_by_hops",
    "weigh_decoder",
    "weigh_decoder_on_tiles",
]
