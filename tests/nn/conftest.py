import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def adjacency() -> csr_matrix:
    """Symmetric 6-NN graph of 80 scattered spots."""
    xy = np.random.default_rng(0).uniform(0, 1, (80, 2))
    pairs = np.array([(i, j) for i, near in enumerate(cKDTree(xy).query(xy, k=7)[1]) for j in near if i != j])
    directed = csr_matrix((np.ones(len(pairs)), pairs.T), shape=(80, 80))
    return directed.maximum(directed.T).tocsr()
