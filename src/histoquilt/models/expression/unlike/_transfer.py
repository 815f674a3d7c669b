"""Transfer of the features to a section: the share of its variance that lies in the leading training components.

Features that vary together in the training sections do so in tissue of the same kind, however it was stained or
scanned: sections are standardised by their own moments first. In tissue of another kind other combinations vary, of
which the model has learnt nothing. What is ordinary is measured on training sections that are left out in turn.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from histoquilt.models._image_components import leading_axes
from histoquilt.models.expression._inner_validation import inner_folds

N_COMPONENTS = 64
LEAST_MARGIN = 0.05  # margin below the smallest share of a left-out section, relative to it
_MAX_SPOTS = 2_000  # training spots from which the components are computed, equally many of each section
_EXACT = 1_000
_LEAST_SPOTS = 20  # a section of fewer has no share, and is not judged


@dataclass(frozen=True)
class Transfer:
    """Measured transfer to one section.

    Attributes
    ----------
    share
        Share of the section's variance in the training components; NaN if it has too few spots or does not vary.
    left_out
        Smallest and largest share of a left-out training section.
    limit
        Share below which the features do not transfer.
    """

    share: float
    left_out: tuple[float, float]
    limit: float

    @property
    def judged(self) -> bool:
        """Whether the section, and a left-out training section, had enough spots to be compared."""
        return bool(np.isfinite(self.share))

    @property
    def transfers(self) -> bool:
        """Whether the share reaches the limit; true if the section was not judged."""
        return not self.share < self.limit

    def record(self) -> dict[str, bool | float | list[float]]:
        """Return the entries of ``uns["histoquilt"]["prediction"]``; none if the section was not judged."""
        if not self.judged:
            return {}
        return {
            "transfer_share": self.share,
            "transfer_left_out": list(self.left_out),
            "transfer_limit": self.limit,
            "transfers": self.transfers,
        }

    @property
    def warning(self) -> str:
        """Sentences for a section to which the features do not transfer."""
        low, high = self.left_out
        return (
            f"the image features vary differently than in training: {self.share:.3f} of their variance is in the "
            f"training components, {low:.3f} to {high:.3f} in left-out training sections (limit {self.limit:.3f}). "
            f"var['reliability'] was measured on such sections. {self.caution}"
        )

    @property
    def caution(self) -> str:
        """What to know before such a prediction is used."""
        return "Reliabilities of training do not apply to this section; var['reliability_adjusted'] is 0."


@dataclass(frozen=True)
class TransferMeasure:
    """Leading components of the training features, and the shares of left-out training sections.

    Attributes
    ----------
    axes
        Leading 64 components of the training features, orthonormal columns ``(n_features, n_components)``.
    left_out
        Share of each training section, ``(n_sections,)``, by the components of the other groups.
    """

    axes: np.ndarray
    left_out: np.ndarray

    @classmethod
    def fit(cls, features: Callable[[int], np.ndarray], groups: Sequence[str]) -> "TransferMeasure":
        """Fit to the features of the training sections.

        Parameters
        ----------
        features
            Function that returns the features of a section by its number, ``(n_spots, n_features)``, standardised by
            the section's own moments and centred. It is called twice a section, so that not all are in memory.
        groups
            Group of each section; at least two.
        """
        kept = [_some(features(i), _MAX_SPOTS // len(groups)) for i in range(len(groups))]
        left_out = np.full(len(groups), np.nan)
        for fold in inner_folds(groups):
            axes = _axes(np.concatenate([kept[i] for i in fold.train]))
            for i in fold.held_out:
                left_out[i] = _share(features(i), axes)
        return cls(_axes(np.concatenate(kept)), left_out)

    def measure(self, features: np.ndarray) -> Transfer:
        """Measure the transfer to a section with these features, ``(n_spots, n_features)``.

        The limit is the smallest share of a left-out section, less the larger of their range and 5 % of it.
        """
        known = self.left_out[np.isfinite(self.left_out)]
        if len(known) == 0:
            return Transfer(np.nan, (np.nan, np.nan), np.nan)
        low, high = float(known.min()), float(known.max())
        return Transfer(_share(features, self.axes), (low, high), low - max(high - low, LEAST_MARGIN * low))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what :meth:`restore` needs."""
        return {"axes": self.axes, "left_out": self.left_out}

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray]) -> "TransferMeasure":
        """Rebuild from :meth:`arrays`."""
        return cls(**arrays)


def _some(features: np.ndarray, n: int) -> np.ndarray:
    """Return at most ``n`` rows, at least one, drawn with a fixed seed."""
    if n >= len(features):
        return features
    return features[np.sort(np.random.default_rng(0).choice(len(features), max(1, n), replace=False))]


def _axes(features: np.ndarray) -> np.ndarray:
    """Return the leading components of the features that vary at all."""
    axes = leading_axes(features, N_COMPONENTS, _EXACT)
    along = np.square(features @ axes, dtype=np.float64).sum(axis=0)
    return axes[:, along > 1e-6 * max(along.max(initial=0.0), 1e-12)]


def _share(features: np.ndarray, axes: np.ndarray) -> float:
    total = float(np.square(features, dtype=np.float64).sum())
    if len(features) < _LEAST_SPOTS or total == 0:
        return float("nan")
    return float(np.square(features @ axes, dtype=np.float64).sum()) / total
