"""The published methods, one file each: frozen config, network, user class with fit, embed or predict, save, load."""

from histoquilt.models._expression import ExpressionModel
from histoquilt.models._expression_config import ExpressionConfig
from histoquilt.models._expression_inputs import ImageSection
from histoquilt.models._load import load
from histoquilt.models._mclstexp import MclSTExp
from histoquilt.models._mclstexp_config import MclSTExpConfig
from histoquilt.models._mean import MeanConfig, MeanExpression
from histoquilt.models._nearest_neighbours import NearestNeighbours, NearestNeighboursConfig
from histoquilt.models._ridge import RidgeConfig, RidgeOnEmbedding
from histoquilt.models._spahgc import SpaHGC
from histoquilt.models._spahgc_config import SpaHGCConfig
from histoquilt.models._spamask import SpaMask
from histoquilt.models._spamask_config import SpaMaskConfig

__all__ = [
    "ExpressionConfig",
    "ExpressionModel",
    "ImageSection",
    "MclSTExp",
    "MclSTExpConfig",
    "MeanConfig",
    "MeanExpression",
    "NearestNeighbours",
    "NearestNeighboursConfig",
    "RidgeConfig",
    "RidgeOnEmbedding",
    "SpaHGC",
    "SpaHGCConfig",
    "SpaMask",
    "SpaMaskConfig",
    "load",
]
