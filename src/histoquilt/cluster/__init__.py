"""Clustering of an embedding: mixtures with one shared covariance, nested domains, consensus, samples of spots."""

from histoquilt.cluster._consensus import align_labels, ensemble_confidence, ensemble_probability
from histoquilt.cluster._hierarchy import (
    DomainMerges,
    DomainMoments,
    Parts,
    level_stability,
    merge_domains,
    split_domain,
)
from histoquilt.cluster._merged import fit_merged
from histoquilt.cluster._mixture import Mixture, NamedMixture, fit_mixture, start_moments, whitened, whitening
from histoquilt.cluster._naming import check_all_found, name_by_position, restore_vanished
from histoquilt.cluster._potts import PottsFit, potts_labels
from histoquilt.cluster._reappearance import NestedLabels, half_of_blocks, reappearance
from histoquilt.cluster._shared_covariance import fit_shared_covariance
from histoquilt.cluster._spatial_sample import spatial_sample

__all__ = [
    "DomainMerges", "DomainMoments", "Mixture", "NamedMixture", "NestedLabels", "Parts", "PottsFit", "align_labels",
    "check_all_found", "ensemble_confidence", "ensemble_probability", "fit_merged", "fit_mixture",
    "fit_shared_covariance", "half_of_blocks", "level_stability", "merge_domains", "name_by_position", "potts_labels",
    "reappearance", "restore_vanished", "spatial_sample", "split_domain", "start_moments", "whitened", "whitening",
]  # fmt: skip
