"""Kernel map: features whose products approximate a Gaussian (RBF) kernel, for linear models of curved relations."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.kernel_approximation import Nystroem
from sklearn.metrics.pairwise import rbf_kernel

_MAX_SPOTS = 1_000  # spots whose distances give the bandwidth


@dataclass(frozen=True)
class KernelMap:
    """Nystroem approximation of an RBF kernel (Williams & Seeger, NeurIPS 2000).

    Attributes
    ----------
    landmarks
        Training spots that the kernel is evaluated at, ``(n_features, n_components)``.
    mixing
        Kernel values to features, ``(n_features, n_features)``, scaled to the variance of the components.
    mean
        Mean of the training features, ``(n_features,)``.
    gamma
        ``1 / (2 * bandwidth**2)``; the bandwidth is the median distance between training spots.
    """

    landmarks: np.ndarray
    mixing: np.ndarray
    mean: np.ndarray
    gamma: float

    @classmethod
    def fit(cls, scores: np.ndarray, n_features: int, *, seed: int = 0) -> "KernelMap":
        """Fit to the components of training spots, ``(n_spots, n_components)``; at most one feature a spot."""
        rng = np.random.default_rng(seed)
        some = scores[np.sort(rng.choice(len(scores), min(len(scores), _MAX_SPOTS), replace=False))]
        squared = float(np.median(pdist(some))) ** 2
        gamma = 1 / (2 * squared) if squared > 0 else 1.0
        found = Nystroem(gamma=gamma, n_components=min(n_features, len(scores)), random_state=seed).fit(scores)
        mixing = found.normalization_.T
        values = rbf_kernel(scores, found.components_, gamma) @ mixing
        mean = values.mean(axis=0)
        spread = float(np.sqrt(((values - mean) ** 2).sum(axis=1).mean()))
        # the total variance of the features is that of the components
        scale = float(np.sqrt(scores.var(axis=0).sum())) / (spread or 1.0)
        return cls(found.components_, (mixing * scale).astype(np.float32), (mean * scale).astype(np.float32), gamma)

    def features(self, scores: np.ndarray) -> np.ndarray:
        """Return the features of spots with these components, ``(n_spots, n_features)`` float32."""
        return (rbf_kernel(scores, self.landmarks, self.gamma) @ self.mixing - self.mean).astype(np.float32)

    def divided(self, by: float) -> "KernelMap":
        """Return the map for components that are divided by a number, whose features are divided by it, too."""
        return KernelMap(self.landmarks / by, self.mixing / by, self.mean / by, self.gamma * by**2)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything fitted, for a checkpoint."""
        return {name: np.asarray(value) for name, value in vars(self).items()}

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray]) -> "KernelMap":
        """Rebuild from :meth:`arrays`."""
        return cls(arrays["landmarks"], arrays["mixing"], arrays["mean"], float(arrays["gamma"]))
