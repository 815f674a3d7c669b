from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt.pp import Expression


def _counts(n_spots: int = 120, n_genes: int = 60, seed: int = 0) -> np.ndarray:
    """Two halves; the first 10 genes differ between them."""
    rng = np.random.default_rng(seed)
    rate = np.tile(rng.gamma(2.0, 1.5, n_genes) + 0.3, (n_spots, 1))
    rate[: n_spots // 2, :5] *= 6
    rate[n_spots // 2 :, 5:10] *= 6
    return rng.poisson(rate * rng.uniform(0.5, 1.5, (n_spots, 1))).astype(np.float32)


@pytest.fixture
def section() -> AnnData:
    counts = _counts()
    return AnnData(csr_matrix(counts), var=pd.DataFrame(index=[f"g{i}" for i in range(counts.shape[1])]))


@pytest.fixture
def source() -> Callable[..., Expression]:
    def make(n_spots: int = 120, n_genes: int = 60, seed: int = 0) -> Expression:
        names = [f"g{i}" for i in range(n_genes)]
        return Expression(csr_matrix(_counts(n_spots, n_genes, seed)), names, "counts", "X")

    return make
