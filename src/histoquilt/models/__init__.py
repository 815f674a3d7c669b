"""The published methods, one file each: frozen config, network, user class with fit, embed or predict, save, load."""

from histoquilt.models._config import ModelConfig
from histoquilt.models._domain_model import DomainModel, Embedded
from histoquilt.models._load import load
from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.models.expression._config import ExpressionConfig
from histoquilt.models.expression._encoder import trained_encoder
from histoquilt.models.expression._inputs import (
    ImageSection,
    encoder_record,
    microns,
    near_spots,
    read_embeddings,
)
from histoquilt.models.expression._model import ExpressionModel
from histoquilt.models.expression._prediction import MEASURED, describe_spots
from histoquilt.models.expression._study import embedding_keys
from histoquilt.models.expression._targets import Measured, check_panel, choose_panel, measure
from histoquilt.models.linear._mean import MeanConfig, MeanExpression
from histoquilt.models.linear._ridge import RidgeConfig, RidgeOnEmbedding, plain_ridge
from histoquilt.models.mclstexp._config import MclSTExpConfig
from histoquilt.models.mclstexp._model import MclSTExp
from histoquilt.models.retrieval._nearest_neighbours import NearestNeighbours, NearestNeighboursConfig
from histoquilt.models.spahgc._config import SpaHGCConfig
from histoquilt.models.spahgc._model import SpaHGC
from histoquilt.models.spamask._config import SpaMaskConfig
from histoquilt.models.spamask._fitted import Outputs
from histoquilt.models.spamask._inputs import SpaMaskInputs
from histoquilt.models.spamask._model import SpaMask
from histoquilt.models.spamask._tiles import BATCH_SPOTS, in_tiles, parts_of_batch

__all__ = [
    "BATCH_SPOTS",
    "MEASURED",
    "DomainModel",
    "Embedded",
    "ExpressionConfig",
    "ExpressionModel",
    "ImageSection",
    "MclSTExp",
    "MclSTExpConfig",
    "MeanConfig",
    "MeanExpression",
    "Measured",
    "MethodState",
    "ModelConfig",
    "NearestNeighbours",
    "NearestNeighboursConfig",
    "Outputs",
    "RidgeConfig",
    "RidgeOnEmbedding",
    "SpaHGC",
    "SpaHGCConfig",
    "SpaMask",
    "SpaMaskConfig",
    "SpaMaskInputs",
    "check_panel",
    "choose_panel",
    "describe_spots",
    "embedding_keys",
    "encoder_record",
    "in_tiles",
    "load",
    "measure",
    "microns",
    "near_spots",
    "parts_of_batch",
    "plain_ridge",
    "read_embeddings",
    "trained_encoder",
]
