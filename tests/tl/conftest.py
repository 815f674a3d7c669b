"""Embeddings with known clusters, and one section that went through the whole pipeline."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from histoquilt.datasets import toy_section
from histoquilt.models import SharedFactorsConfig
from histoquilt.tl import spatial_domains

SMALL = SharedFactorsConfig(n_pcs=50)


@pytest.fixture(scope="session")
def small_config() -> SharedFactorsConfig:
    return SMALL


@pytest.fixture(scope="session")
def _result() -> AnnData:
    adata = toy_section(n_spots=900, n_genes=300, n_domains=5, seed=0)
    spatial_domains(adata, 5, config=SMALL, progress=False)
    return adata


@pytest.fixture
def result(_result: AnnData) -> AnnData:
    """A fresh copy of 900 toy spots with five domains found."""
    return _result.copy()


@pytest.fixture
def embedded() -> Callable[..., AnnData]:
    """Put an embedding, and coordinates if given, into an AnnData."""

    def make(embedding: np.ndarray, spatial: np.ndarray | None = None) -> AnnData:
        adata = AnnData(obs=pd.DataFrame(index=[f"s{i}" for i in range(len(embedding))]))
        adata.obsm["X_domains"] = embedding
        if spatial is not None:
            adata.obsm["spatial"] = np.asarray(spatial, float)
        return adata

    return make
