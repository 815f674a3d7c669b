"""Expected log1p of counts per 10,000 of a gene whose counts are Poisson, and its inverse.

``log1p(1e4 C / N)`` of sparse counts depends on the depth ``N`` as much as on the rate ``r`` of the gene: for
``C ~ Poisson(N r)`` its mean grows like ``N r log1p(1e4 / N)`` while ``N r`` is small. A table of the mean over log
expected counts and log depth, filled by direct summation, is interpolated on the log scale, where it is nearly linear;
values are within 1e-3 of the sum.
"""

from functools import cache

import numpy as np
from scipy.special import gammaln

_STEP = 0.05  # of both axes
# natural log of N r; below the first the mean is proportional to N r
_LOG_COUNTS = np.arange(-9, 15 + _STEP / 2, _STEP)
_LOG_DEPTH = np.arange(0, 17 + _STEP / 2, _STEP)  # natural log of N: 1 to 24 million counts a spot
_LEAST_SHARE = 0.05  # of a gene's mean prediction
_MANY = 7.0  # log expected counts from which the second-order expansion replaces the sum


def expected_log1p(log_rate: np.ndarray, log_depth: np.ndarray) -> np.ndarray:
    """Return ``E log1p(1e4 C / N)`` for ``C ~ Poisson(N r)``.

    Parameters
    ----------
    log_rate
        Natural log of the share ``r`` of a gene in the counts of a spot, ``(n_spots, n_genes)``.
    log_depth
        Natural log of the counts ``N`` of each spot, ``(n_spots,)``.

    Returns
    -------
    Float32 ``(n_spots, n_genes)``, log1p of counts per 10,000.

    Examples
    --------
    >>> deep, shallow = (float(expected_log1p(np.log([[0.001]]), np.log([depth]))[0, 0]) for depth in (1e6, 1e3))
    >>> f"{deep:.3f} {shallow:.3f}"  # deep: log1p of the rate per 10,000
    '2.397 1.724'
    """
    values = np.empty(log_rate.shape, dtype=np.float32)
    for spot, (row, depth) in enumerate(zip(log_rate, log_depth, strict=True)):
        values[spot] = np.exp(_interpolate(row.astype(np.float64) + depth, _LOG_COUNTS, _log_means(depth)))
    return values


def log_rate_of(expected: np.ndarray, log_depth: np.ndarray) -> np.ndarray:
    """Return the log rate whose :func:`expected_log1p` at a depth has these values, ``(n_spots, n_genes)`` float32.

    Rates are at most 1; values of 0 or less have a rate of minus infinity.
    """
    rates = np.empty(expected.shape, dtype=np.float32)
    for spot, (row, depth) in enumerate(zip(expected, log_depth, strict=True)):
        means = _log_means(depth)
        with np.errstate(divide="ignore"):
            target = np.log(np.maximum(row, 0, dtype=np.float64))
        grid = np.arange(means[0], means[-1], _STEP / 5)
        rates[spot] = _interpolate(target, grid, np.interp(grid, means, _LOG_COUNTS)) - depth
    return np.minimum(rates, 0, out=rates)


def relative_rates(expected: np.ndarray, log_depth: np.ndarray) -> np.ndarray:
    """Return :func:`log_rate_of` predictions, less each gene's mean over the spots, ``(n_spots, n_genes)`` float32.

    Linear models predict zero and less where a gene is rare: values below a twentieth of the gene's mean count as that.
    A gene that is predicted nowhere is 0.
    """
    mean = expected.mean(axis=0, dtype=np.float64).astype(np.float32)
    rates = log_rate_of(np.maximum(expected, np.where(mean > 0, _LEAST_SHARE * mean, 1)), log_depth)
    rates[:, mean <= 0] = 0
    return rates - rates.mean(axis=0, dtype=np.float64).astype(np.float32)


def _interpolate(at: np.ndarray, grid: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Interpolate linearly on an even grid; below it the line has slope 1, above it the value is constant."""
    place = (at - grid[0]) * ((len(grid) - 1) / (grid[-1] - grid[0]))
    lower = np.clip(place, 0, len(grid) - 2).astype(np.intp)
    share = np.clip(place - lower, 0, 1)
    start = values[lower]
    return start + share * (values[lower + 1] - start) + np.minimum(at - grid[0], 0)


def _log_means(log_depth: float) -> np.ndarray:
    """Return the log of the mean at one depth, over ``_LOG_COUNTS``."""
    place = np.clip(log_depth / _STEP, 0, len(_LOG_DEPTH) - 1)
    lower = min(int(place), len(_LOG_DEPTH) - 2)
    share = place - lower
    table = _table()
    return (1 - share) * table[lower] + share * table[lower + 1]


@cache
def _table() -> np.ndarray:
    """Return the log of the mean, ``(n_depths, n_expected_counts)``."""
    per_count = 1e4 * np.exp(-_LOG_DEPTH)[:, None]
    few = _LOG_COUNTS < _MANY
    expected = np.exp(_LOG_COUNTS[few])
    counts = np.arange(1, int(np.exp(_MANY) + 12 * np.exp(_MANY / 2)))
    log_mass = np.outer(counts, _LOG_COUNTS[few]) - expected - gammaln(counts + 1)[:, None]
    summed = np.log1p(per_count * counts) @ np.exp(log_mass)
    total = per_count * np.exp(_LOG_COUNTS[~few])
    expanded = np.log1p(total) - 0.5 * per_count * total / (1 + total) ** 2
    return np.log(np.hstack([summed, expanded]))
