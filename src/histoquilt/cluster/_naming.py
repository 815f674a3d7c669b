"""Names of domains, 1 to k in a stable order."""

import numpy as np
import pandas as pd


def name_by_position(labels: np.ndarray, spatial: np.ndarray | None) -> "pd.Categorical[str]":
    """Name clusters "1" to "k" from the top of the tissue to the bottom, then left to right.

    Unlike cluster numbers, positions do not differ between runs, so that names and colours are stable. ``labels`` are
    ``(n_spots,)`` int, ``spatial`` (x, y) ``(n_spots, >= 2)``; without coordinates larger domains come first.
    """
    found, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if spatial is None:
        order = np.argsort(-counts, kind="stable")
    else:
        mean_x, mean_y = (np.bincount(codes, weights=spatial[:, axis]) / counts for axis in (0, 1))
        order = np.lexsort((mean_x, mean_y))
    rank = np.empty(len(found), int)
    rank[order] = np.arange(len(found))
    names = pd.Index([str(number + 1) for number in range(len(found))])
    return pd.Categorical.from_codes(rank[codes], names)


def restore_vanished(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return labels ``after`` a change, ``(n_spots,)``; one that no spot has any more gets its spots back."""
    # giving one domain its spots back can take another's last ones, so look again
    while len(vanished := np.setdiff1d(before, after)):
        after = np.where(np.isin(before, vanished), before, after)
    return after


def check_all_found(labels: np.ndarray, n_domains: int) -> None:
    """Raise ``ValueError`` if there are fewer domains than requested."""
    n_found = len(np.unique(labels))
    if n_found != n_domains:
        raise ValueError(
            f"{n_domains} domains were asked for, but only {n_found} could be distinguished in the embedding. "
            "Ask for fewer domains, or check the expression."
        )
