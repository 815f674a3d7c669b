"""Models of tissue domains (fit, embed) and of expression from H&E (fit, predict), with their settings."""

import importlib
from typing import TYPE_CHECKING

from histoquilt.models._config import ModelConfig
from histoquilt.models._domain_model import DomainModel, Embedded
from histoquilt.models._folders import ModelFolder, check_model, describe_model, find_models, is_model_folder
from histoquilt.models._load import load
from histoquilt.models._pull import pull_model
from histoquilt.models.averaging._config import AveragedPCsConfig
from histoquilt.models.averaging._model import AveragedPCs
from histoquilt.models.counts._count_regression import CountRegression, CountRegressionConfig
from histoquilt.models.domains._feature_config import FeatureConfig, ImageRole
from histoquilt.models.domains._feature_model import FeatureModel, Made, Outputs
from histoquilt.models.domains._image_use import ImageUse, NewEmbeddings
from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.models.expression._config import ExpressionConfig
from histoquilt.models.expression._encoder import trained_encoders
from histoquilt.models.expression._inputs import ImageSection, near_spots
from histoquilt.models.expression._model import ExpressionModel
from histoquilt.models.expression._prediction import PREDICTED_LOG_COUNTS, describe_spots, warn_seen
from histoquilt.models.expression._targets import Measured, MissingCountsError, check_panel, choose_panel, measure
from histoquilt.models.expression._training_data import embedding_keys
from histoquilt.models.linear._mean import MeanConfig, MeanExpression
from histoquilt.models.linear._predicted_depth import PredictedDepth, PredictedDepthConfig
from histoquilt.models.linear._reduced_rank import ReducedRankRidge, ReducedRankRidgeConfig
from histoquilt.models.linear._ridge import RidgeConfig, RidgeOnEmbedding, plain_ridge
from histoquilt.models.mclstexp._config import MclSTExpConfig
from histoquilt.models.retrieval._config import NearestNeighboursConfig
from histoquilt.models.shared_factors._config import SharedFactorsConfig
from histoquilt.models.shared_factors._model import SharedFactors
from histoquilt.models.smoothing._config import SpatialFactorsConfig
from histoquilt.models.smoothing._model import SpatialFactors
from histoquilt.models.spahgc._config import SpaHGCConfig
from histoquilt.models.spamask._config import SpaMaskConfig
from histoquilt.models.stack._stack import Stack, StackConfig

if TYPE_CHECKING:
    from histoquilt.models.mclstexp._model import MclSTExp
    from histoquilt.models.retrieval._nearest_neighbours import NearestNeighbours, cosine_neighbours
    from histoquilt.models.spahgc._model import SpaHGC
    from histoquilt.models.spamask._model import SpaMask

__all__ = [
    "PREDICTED_LOG_COUNTS", "AveragedPCs", "AveragedPCsConfig", "CountRegression", "CountRegressionConfig",
    "DomainModel", "Embedded", "ExpressionConfig", "ExpressionModel", "FeatureConfig", "FeatureModel", "ImageRole",
    "ImageSection", "ImageUse", "Made", "MclSTExp", "MclSTExpConfig", "MeanConfig", "MeanExpression", "Measured",
    "MethodState", "MissingCountsError", "ModelConfig", "ModelFolder", "NearestNeighbours", "NearestNeighboursConfig",
    "NewEmbeddings", "Outputs", "PredictedDepth", "PredictedDepthConfig", "ReducedRankRidge",
    "ReducedRankRidgeConfig", "RidgeConfig", "RidgeOnEmbedding", "SharedFactors", "SharedFactorsConfig", "SpaHGC",
    "SpaHGCConfig", "SpaMask", "SpaMaskConfig", "SpatialFactors", "SpatialFactorsConfig", "Stack", "StackConfig",
    "check_model", "check_panel", "choose_panel", "cosine_neighbours", "describe_model", "describe_spots",
    "embedding_keys", "find_models", "is_model_folder", "load", "measure", "near_spots", "plain_ridge", "pull_model",
    "trained_encoders", "warn_seen",
]  # fmt: skip

# imported on first use: they load torch, which takes a second and which the other models do without
_WITH_TORCH = {
    "MclSTExp": "mclstexp._model", "NearestNeighbours": "retrieval._nearest_neighbours", "SpaHGC": "spahgc._model",
    "SpaMask": "spamask._model", "cosine_neighbours": "retrieval._nearest_neighbours",
}  # fmt: skip


def __getattr__(name: str) -> object:
    if name in _WITH_TORCH:
        return getattr(importlib.import_module(f"histoquilt.models.{_WITH_TORCH[name]}"), name)
    raise AttributeError(f"module 'histoquilt.models' has no attribute {name!r}.")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
