"""The reference bank of a retrieval model, and averages over the nearest of its spots."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix

from histoquilt.models.retrieval._config import Metric, Weighting
from histoquilt.nn import nearest_references


@dataclass(frozen=True)
class Bank:
    """Training spots whose expression was measured.

    Attributes
    ----------
    points
        Columns that queries are compared with, ``(n_bank, n_columns)``, on the device of the search.
    expression
        ``(n_bank, n_genes)`` measured, log1p of counts per 10,000.
    weights
        Weight of each measurement, ``(n_bank,)``; ``None`` if all are alike.
    """

    points: torch.Tensor
    expression: np.ndarray
    weights: np.ndarray | None = None

    def averages(
        self,
        query: torch.Tensor,
        ks: Sequence[int],
        weightings: Sequence[Weighting],
        metric: Metric = "cosine",
    ) -> Iterator[tuple[int, Weighting, np.ndarray]]:
        """Yield the mean expression of each query's nearest spots, for every ``k`` and weighting, from one search.

        query: (n_queries, n_columns) -> ``(n_queries, n_genes)`` float32.
        """
        found = nearest_references(query, self.points, min(max(ks), len(self.points)), metric=metric)
        numbers, squared = found.index.cpu().numpy(), found.squared.cpu().double().numpy()
        rows, places = np.unique(numbers, return_inverse=True)
        places = places.reshape(numbers.shape)
        expression = self.expression[rows].astype(np.float64)  # once, not in every product
        of_bank = None if self.weights is None else self.weights[rows]
        for k in ks:
            for weighting in weightings:
                # cut to k first: the floor of a distance is taken from what is averaged, whatever else was tried
                shares = averaging(places[:, :k], squared[:, :k], weighting, len(rows), of_bank)
                yield k, weighting, (shares @ expression).astype(np.float32, copy=False)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what :meth:`restore` needs."""
        weights = {} if self.weights is None else {"weights": self.weights}
        return {"points": self.points.cpu().numpy(), "expression": self.expression, **weights}

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], device: torch.device) -> "Bank":
        """Rebuild from :meth:`arrays`; the search computes on the device."""
        bank = cls(torch.from_numpy(arrays["points"]).to(device), arrays["expression"], arrays.get("weights"))
        if len({len(values) for values in arrays.values()}) > 1:
            raise ValueError("the parts of the reference bank differ in length")
        return bank


def averaging(
    numbers: np.ndarray, squared: np.ndarray, weighting: Weighting, n_bank: int, of_bank: np.ndarray | None = None
) -> csr_matrix:
    """Return the matrix ``(n_queries, n_bank)`` that averages each query's nearest rows; rows sum to 1.

    Parameters
    ----------
    numbers, squared
        Row numbers and squared distances ``(n_queries, k)``, nearest first.
    weighting
        Uniform weights, or weights of one over squared distance. A row at distance zero counts as one at a hundredth of
        the distance of the farthest row found, so that it dominates without being the only one.
    n_bank
        Number of rows of the bank.
    of_bank
        Further weight of each row of the bank, ``(n_bank,)``.
    """
    weights = np.ones(numbers.shape)
    if weighting == "inverse_square":
        weights /= np.maximum(squared, np.maximum(1e-4 * squared[:, -1:], np.finfo(np.float32).tiny))
    if of_bank is not None:
        weights *= of_bank[numbers]
    weights /= weights.sum(axis=1, keepdims=True)
    indptr = np.arange(0, numbers.size + 1, numbers.shape[1])
    return csr_matrix((weights.ravel(), numbers.ravel(), indptr), shape=(len(numbers), n_bank))
