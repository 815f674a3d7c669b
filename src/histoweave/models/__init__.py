"""The published methods, one file each: frozen config, network, user class with fit, embed or predict, save, load."""

from histoweave.models._expression import ExpressionModel
from histoweave.models._expression_config import ExpressionConfig
from histoweave.models._expression_inputs import ImageSection
from histoweave.models._load import load
from histoweave.models._mclstexp import MclSTExp
from histoweave.models._mclstexp_config import MclSTExpConfig
from histoweave.models._mean import MeanConfig, MeanExpression
from histoweave.models._nearest_neighbours import NearestNeighbours, NearestNeighboursConfig
from histoweave.models._ridge import RidgeConfig, RidgeOnEmbedding
from histoweave.models._spahgc import SpaHGC
from histoweave.models._spahgc_config import SpaHGCConfig
from histoweave.models._spamask import SpaMask
from histoweave.models._spamask_config import SpaMaskConfig

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
