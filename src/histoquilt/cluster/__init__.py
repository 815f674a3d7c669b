"""Clustering of an embedding: a mixture with one shared covariance, and samples of spots that cover the tissue."""

from histoquilt.cluster._mixture import Mixture, NamedMixture, fit_mixture, start_moments, whitening
from histoquilt.cluster._shared_covariance import fit_shared_covariance
from histoquilt.cluster._spatial_sample import spatial_sample

__all__ = [
    "Mixture",
    "NamedMixture",
    "fit_mixture",
    "fit_shared_covariance",
    "spatial_sample",
    "start_moments",
    "whitening",
]
