"""The reference bank of mclSTExp: training spots in the shared space, and averages of what was measured there."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import diags

from histoquilt.models.mclstexp._config import MclSTExpConfig
from histoquilt.models.retrieval._retrieval import Weighting, averaging
from histoquilt.nn import nearest_references


@dataclass(frozen=True)
class Bank:
    """Training spots.

    Attributes
    ----------
    points
        (n_bank, n_latent) what queries are compared with.
    expression
        ``(n_bank, n_genes)`` measured, log1p of counts per 10,000.
    weights
        ``(n_bank,)`` how much each measurement counts.
    """

    points: torch.Tensor
    expression: np.ndarray
    weights: np.ndarray

    def averages(self, query: torch.Tensor, config: MclSTExpConfig) -> Iterator[tuple[int, Weighting, np.ndarray]]:
        """Yield the mean expression of each query's nearest spots, for every ``k`` and weighting to try.

        query: (n_queries, n_latent) -> ``(n_queries, n_genes)`` float32.
        """
        found = nearest_references(query, self.points, min(max(config.k), len(self.points)))
        numbers, squared = found.index.cpu().numpy(), found.distance.cpu().double().numpy() ** 2
        for k in config.k:
            for weighting in config.weightings_to_try:
                # cut to k first: the floor of a distance is taken from what is averaged, whatever else was tried
                average = averaging(numbers[:, :k], squared[:, :k], k, weighting, len(self.points))
                average = average @ diags(self.weights.astype(np.float64))
                average = diags(1.0 / np.asarray(average.sum(axis=1)).ravel()) @ average
                yield k, weighting, (average @ self.expression).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what :meth:`restore` needs."""
        return {"points": self.points.cpu().numpy(), "expression": self.expression, "weights": self.weights}

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], device: torch.device) -> "Bank":
        """Rebuild from :meth:`arrays`; queries will be compared on the device."""
        bank = cls(torch.from_numpy(arrays["points"]).to(device), arrays["expression"], arrays["weights"])
        if not len(bank.points) == len(bank.expression) == len(bank.weights):
            raise ValueError("the parts of the reference bank differ in length")
        return bank
