"""Clustering of an embedding: a mixture with one shared covariance, consensus of labelings, and samples of spots."""

from histoquilt.cluster._consensus import align_labels, ensemble_confidence, ensemble_probability
from histoquilt.cluster._mixture import Mixture, NamedMixture, fit_mixture, start_moments, whitening
from histoquilt.cluster._naming import check_all_found, name_by_position, restore_vanished
from histoquilt.cluster._potts import PottsFit, potts_labels
from histoquilt.cluster._shared_covariance import fit_shared_covariance
from histoquilt.cluster._spatial_sample import spatial_sample

__all__ = [
    "Mixture", "NamedMixture", "PottsFit", "align_labels", "check_all_found", "ensemble_confidence",
    "ensemble_probability", "fit_mixture", "fit_shared_covariance", "name_by_position", "potts_labels",
    "restore_vanished", "spatial_sample", "start_moments", "whitening",
]  # fmt: skip
