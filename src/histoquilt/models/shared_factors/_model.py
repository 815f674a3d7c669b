"""SharedFactors: directions in which the embeddings of several domain models agree; the default method.

Every member embeds the same features over the same spatial graph. Its leading components are scaled to unit variance,
and the leading components of all members side by side are the embedding: the generalised canonical variates of the
members (MAXVAR; Kettenring 1971). A direction that two members share has twice the variance of one that a single
member sees, so what only one of them makes of the data comes last.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from histoquilt._base import DOMAIN_MODELS
from histoquilt.cluster import whitened, whitening
from histoquilt.models.averaging._model import leading_axes
from histoquilt.models.domains._feature_model import FeatureModel, Outputs, Tissue
from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.models.shared_factors._config import SharedFactorsConfig
from histoquilt.models.smoothing._factors import SAMPLED_SPOTS
from histoquilt.models.smoothing._patches import scattered_patches

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class _Member:
    """Fitted state of a member, and its share in the embedding."""

    learnt: Any
    center: np.ndarray  # (n_latent,) mean of the member's embedding
    axes: np.ndarray  # (n_latent, n_components) from the centred embedding to the shared directions


class SharedFactors(FeatureModel):
    """Spatial domains from the directions that several models share, by default spatial factors and averaged PCs.

    Expression is denoised by the first member.

    Parameters
    ----------
    config
        Settings; members take over those that they have, and keep their own defaults otherwise.

    Attributes
    ----------
    members
        Models by name; what they learn is in the fitted state of this model.
    training_facts
        Record of training: seed, seconds, and the facts of the members.

    Raises
    ------
    ValueError
        A member does not work on features and a graph (:class:`histoquilt.models.FeatureModel`).

    References
    ----------
    Kettenring. Canonical analysis of several sets of variables. Biometrika 58: 433-451, 1971 (MAXVAR).

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=400, n_genes=200, seed=0)
    >>> model = hq.models.SharedFactors().fit(adata)
    >>> model.embed(adata).shape
    (400, 10)
    """

    method = "shared_factors"
    config_class = SharedFactorsConfig
    config: SharedFactorsConfig

    def __init__(self, config: SharedFactorsConfig | None = None) -> None:
        super().__init__(config)
        kinds = {name: DOMAIN_MODELS.load(name) for name in self.config.members}
        for name, kind in kinds.items():
            if not issubclass(kind, FeatureModel):
                raise ValueError(
                    f"The domain model {name!r} cannot be a member of shared_factors: {kind.__name__} is no "
                    "histoquilt.models.FeatureModel, which works on given features and a spatial graph."
                )
        self.members = {name: kind(kind.config_class.sharing(self.config)) for name, kind in kinds.items()}
        self.has_network = any(member.has_network for member in self.members.values())  # type: ignore[misc]
        self.weighs_links = all(member.weighs_links for member in self.members.values())

    def learn(
        self, features: np.ndarray, tissue: Tissue, *, seed: int, device: "str | torch.device", progress: bool
    ) -> tuple[dict[str, _Member], dict[str, Any]]:
        """Fit the members, and their shared directions on at most 50,000 spots in patches."""
        sample = scattered_patches(tissue.adjacency, SAMPLED_SPOTS)
        sections = None if tissue.sections is None else tissue.sections[sample]
        part = Tissue(tissue.adjacency[sample][:, sample], tissue.centres[sample], sections)
        facts: dict[str, Any] = {"members": list(self.members)}
        learnt, centers, axes, scores = {}, {}, {}, []
        for name, member in self.members.items():
            learnt[name], of_member = member.learn(features, tissue, seed=seed, device=device, progress=progress)
            facts |= of_member
            embedding = member.apply(learnt[name], features[sample], part).embedding
            centers[name], axes[name] = whitening(embedding, self.config.n_components)
            scores.append(whitened(embedding, centers[name], axes[name]))
        joint = np.concatenate(scores, axis=1)
        shared = leading_axes(joint.T @ joint, self.config.n_components)
        ends = np.cumsum([one.shape[1] for one in scores])[:-1]
        parts = dict(zip(learnt, np.split(shared, ends), strict=True))
        return {name: _Member(one, centers[name], axes[name] @ parts[name]) for name, one in learnt.items()}, facts

    def apply(self, learnt: dict[str, _Member], features: np.ndarray, tissue: Tissue) -> Outputs:
        """Return the shared directions as embedding, and the reconstruction of the first member."""
        outputs = [self.members[name].apply(one.learnt, features, tissue) for name, one in learnt.items()]
        embedding = _joined(learnt, [of_member.embedding for of_member in outputs])
        less = partial(_joined_less_smoothed, learnt, outputs)
        return replace(outputs[0], embedding=embedding, of_networks=[embedding], less_smoothed=less)

    def to_features(self, learnt: dict[str, _Member], reconstruction: np.ndarray, row_scale: np.ndarray) -> np.ndarray:
        """Convert the reconstruction of the first member to features, ``(n_spots, n_features)``."""
        name, first = next(iter(learnt.items()))
        return self.members[name].to_features(first.learnt, reconstruction, row_scale)

    def embedding_width(self, n_features: int) -> int:
        """Return the width of the widest embedding, the members' among them."""
        widths = [member.embedding_width(n_features) for member in self.members.values()]
        return max(*widths, self.config.n_components)

    def working_bytes(self, n_spots: int, n_features: int) -> int:
        """Return the bytes of the member that takes most, and of all embeddings."""
        most = max(member.working_bytes(n_spots, n_features) for member in self.members.values())
        widths = sum(member.embedding_width(n_features) for member in self.members.values())
        return most + 4 * n_spots * (widths + 2 * self.config.n_components)

    def learnt_state(self, learnt: dict[str, _Member]) -> MethodState:
        """Return the states of the members and their shares, for :meth:`save`."""
        state = MethodState.join({name: self.members[name].learnt_state(one.learnt) for name, one in learnt.items()})
        for name, one in learnt.items():
            state.arrays.update({f"{_CENTER}.{name}": one.center, f"{_AXES}.{name}": one.axes})
        return state

    def restore_learnt(self, state: MethodState, n_features: int) -> dict[str, _Member]:
        """Rebuild the members."""
        learnt = {}
        for name, member in self.members.items():
            of_member = member.restore_learnt(state.member(name), n_features)
            learnt[name] = _Member(of_member, state.arrays[f"{_CENTER}.{name}"], state.arrays[f"{_AXES}.{name}"])
        return learnt


def _joined(learnt: dict[str, _Member], embeddings: Sequence[np.ndarray]) -> np.ndarray:
    """Return the shared directions of the members' embeddings, ``(n_spots, n_components)`` float32."""
    members = zip(learnt.values(), embeddings, strict=True)
    parts = [(of_member - one.center.astype(np.float32)) @ one.axes.astype(np.float32) for one, of_member in members]
    return np.sum(parts, axis=0)


def _joined_less_smoothed(learnt: dict[str, _Member], outputs: Sequence[Outputs]) -> np.ndarray:
    """Return the shared directions after one averaging less, in the members that average."""
    return _joined(learnt, [one.less_smoothed() if one.less_smoothed else one.embedding for one in outputs])


_CENTER, _AXES = "shared_center", "shared_axes"
