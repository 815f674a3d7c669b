"""z-scores of genes, by section, and their inverse."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

_FLAT = 1e-3  # standard deviation over mean of a constant, due to rounding


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation by which each spot is z-scored.

    Attributes
    ----------
    codes
        ``(n_spots,)`` int, the section of every spot; zeros if all spots share one scaling.
    mean, std
        ``(n_sections, n_genes)``.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> scaling = hq.pp.Scaling(np.array([0, 1]), mean=np.array([[1.0], [5]]), std=np.array([[2.0], [1]]))
    >>> scaling.z_score(np.array([[3.0], [3]]), clip=10).tolist()  # a spot of each section
    [[1.0], [-2.0]]
    """

    codes: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    def z_score(self, values: np.ndarray, clip: float) -> np.ndarray:
        """Return z-scores of ``(n_spots, n_genes)``, clipped."""
        scaled = values - self._of_spots(self.mean)
        scaled /= self._of_spots(self.std)
        return np.clip(scaled, -clip, clip, out=scaled)

    def undo(self, scaled: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return values for z-scores of some genes, ``(n_spots, n_columns)``."""
        return scaled * self._of_spots(self.std[:, columns]) + self._of_spots(self.mean[:, columns])

    def of_rows(self, rows: slice) -> "Scaling":
        """Return the scaling of some of the spots."""
        return Scaling(self.codes[rows], self.mean, self.std)

    def _of_spots(self, of_sections: np.ndarray) -> np.ndarray:
        return of_sections if len(of_sections) == 1 else of_sections[self.codes]  # one row broadcasts without a copy


def moments(chunks: Iterable[tuple[slice, np.ndarray]], n_spots: int, sections: np.ndarray | None) -> Scaling:
    """Return mean and standard deviation (1 if constant) of every gene in every section, summed in float64."""
    codes = np.zeros(n_spots, int) if sections is None else np.unique(sections, return_inverse=True)[1].reshape(-1)
    mean, std = mean_and_std(chunks, codes)
    std[std <= _FLAT * np.abs(mean)] = 1.0
    return Scaling(codes, mean.astype(np.float32), std.astype(np.float32))


def mean_and_std(chunks: Iterable[tuple[slice, np.ndarray]], codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of every column in every section, ``(n_sections, n_columns)`` float64."""
    n_sections = codes.max(initial=0) + 1
    total, squares = 0.0, 0.0
    for rows, values in chunks:
        n_rows = rows.stop - rows.start
        member = csr_matrix((np.ones(n_rows), codes[rows], np.arange(n_rows + 1)), (n_rows, n_sections)).T
        exact = values.astype(np.float64)
        total = total + member @ exact
        squares = squares + member @ np.square(exact, out=exact)
    n_in = np.bincount(codes, minlength=n_sections)[:, None]
    mean = total / n_in
    return mean, np.sqrt(np.maximum(squares / n_in - mean**2, 0))
