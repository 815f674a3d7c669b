"""Checks of labels and coordinates: labels as codes, finite points, unlabelled spots left out."""

from typing import Any

import numpy as np
import pandas as pd


def encode(labels: Any, name: str = "labels") -> np.ndarray:
    """Return labels as codes ``0..n_domains-1``, int64 ``(n_spots,)``, with -1 for unlabelled spots.

    ``NaN``, ``None``, ``pd.NA``, ``NaT`` and the empty string are unlabelled.
    """
    if not isinstance(labels, pd.Categorical | pd.Series | pd.Index | np.ndarray):
        labels = np.asarray(labels, dtype=object)  # a list of strings with a NaN would turn it into the string "nan"
    if labels.ndim != 1:
        raise ValueError(f"{name} must be one label per spot, shape (n_spots,), got shape {labels.shape}.")
    codes, uniques = pd.factorize(labels, use_na_sentinel=True)
    empty = [code for code, label in enumerate(uniques) if isinstance(label, str) and label == ""]
    if empty:
        codes = np.where(codes == empty[0], -1, codes - (codes > empty[0]))
    return codes.astype(np.int64, copy=False)


def encode_pair(labels_true: Any, labels_pred: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the codes of the spots that are labelled in both."""
    true, pred = encode(labels_true, "labels_true"), encode(labels_pred, "labels_pred")
    if len(true) != len(pred):
        raise ValueError(
            f"labels_true has {len(true):,} spots and labels_pred {len(pred):,}. Both must describe the same spots, "
            "in the same order."
        )
    both = (true >= 0) & (pred >= 0)
    if not both.any():
        raise ValueError(
            f"No spot is labelled in both labels_true and labels_pred ({(true >= 0).sum():,} and {(pred >= 0).sum():,} "
            f"labelled, of {len(true):,}). Check that the annotation belongs to this section."
        )
    return true[both], pred[both]


def labelled_points(labels: Any, spatial: Any, sections: Any = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return ``(codes, points)`` of the labelled spots of each section, int64 ``(n,)`` and float64 ``(n, n_dims)``."""
    codes = encode(labels)
    points = np.asarray(spatial, dtype=np.float64)
    if points.ndim != 2 or len(points) != len(codes):
        raise ValueError(
            f"spatial must hold one row (x, y) per label, shape ({len(codes)}, 2), got {points.shape}. "
            "The argument order is (labels, spatial)."
        )
    keep = codes >= 0
    if not keep.any():
        raise ValueError(f"None of the {len(codes):,} spots is labelled. Check which column was passed.")
    if not np.isfinite(points[keep]).all():
        raise ValueError("spatial holds NaN or infinite coordinates. Drop those spots, or read the positions again.")
    if sections is None:
        return [(codes[keep], points[keep])]
    section = encode(sections, "sections")
    if len(section) != len(codes):
        raise ValueError(f"sections must name one section per spot: {len(codes):,} labels, {len(section):,} sections.")
    if (section[keep] < 0).any():
        raise ValueError("Some labelled spots have no section. Give every spot its section, or pass sections=None.")
    return [(codes[rows], points[rows]) for rows in (keep & (section == one) for one in np.unique(section[keep]))]
