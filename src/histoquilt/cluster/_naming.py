"""Names of domains, 1 to k in a stable order."""

import numpy as np
import pandas as pd


def name_by_position(labels: np.ndarray, spatial: np.ndarray | None) -> "pd.Categorical[str]":
    """Name clusters "1" to "k" from the top of the tissue to the bottom, then left to right.

    Unlike cluster numbers, positions do not differ between runs, so that names and colours are stable. ``labels`` are
    ``(n_spots,)`` int, ``spatial`` (x, y) ``(n_spots, >= 2)``; without coordinates larger domains come first.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import name_by_position
    >>> list(name_by_position(np.array([7, 7, 3]), np.array([[0, 90], [0, 80], [0, 10]])))  # 3 is at the top
    ['2', '2', '1']
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
    """Return labels ``after`` a change, ``(n_spots,)``; one that no spot has any more gets its spots back.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import restore_vanished
    >>> restore_vanished(np.array([0, 0, 1, 2]), np.array([0, 0, 0, 2])).tolist()
    [0, 0, 1, 2]
    """
    # giving one domain its spots back can take another's last ones, so look again
    while len(vanished := np.setdiff1d(before, after)):
        after = np.where(np.isin(before, vanished), before, after)
    return after


def check_all_found(labels: np.ndarray, n_domains: int) -> None:
    """Raise ``ValueError`` if there are fewer domains than requested.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import check_all_found
    >>> check_all_found(np.array([0, 1, 2]), 3)
    >>> check_all_found(np.array([0, 1, 1]), 3)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: 3 domains were asked for, but only 2 could be distinguished in the embedding. Ask ...
    """
    n_found = len(np.unique(labels))
    if n_found != n_domains:
        raise ValueError(
            f"{n_domains} domains were asked for, but only {n_found} could be distinguished in the embedding. "
            "Ask for fewer domains, or check the expression."
        )
