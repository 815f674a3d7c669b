"""One small section and the models fitted on it, shared by the room's tests; tests copy before they change anything."""

from dataclasses import replace

import numpy as np
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt.datasets import toy_section
from histoquilt.models import (
    AveragedPCs,
    AveragedPCsConfig,
    FeatureModel,
    SharedFactors,
    SharedFactorsConfig,
    SpaMask,
    SpaMaskConfig,
    SpatialFactors,
    SpatialFactorsConfig,
)

FACTORS = SpatialFactorsConfig(n_pcs=30)
SMALL = SpaMaskConfig(n_hidden=32, n_latent=16, n_pcs=30, max_epochs=5, target_sum=1e4, log=True, n_neighbors=6)
MODELS = {
    "factors": SpatialFactors(FACTORS),
    "factors, hvg": SpatialFactors(replace(FACTORS, features="hvg", n_genes=60)),
    "factors, use_rep": SpatialFactors(FACTORS),
    "factors, radius": SpatialFactors(replace(FACTORS, radius=180.0)),
    "averaged": AveragedPCs(AveragedPCsConfig(n_pcs=30, n_averagings=2)),
    "shared": SharedFactors(SharedFactorsConfig(n_pcs=30)),
    "shared, use_rep": SharedFactors(SharedFactorsConfig(n_pcs=30)),
    "spamask": SpaMask(SMALL),
    "spamask, hvg": SpaMask(replace(SMALL, features="hvg", n_genes=60)),
    "spamask, published normalisation": SpaMask(replace(SMALL, target_sum=1e6, log=False)),
    "spamask, use_rep": SpaMask(SMALL),
    "spamask, two networks": SpaMask(replace(SMALL, n_networks=2)),
}


def make_section() -> AnnData:
    """300 spots without ties among their distances, 120 genes, 8 columns of a made-up embedding."""
    adata = toy_section(n_spots=300, n_genes=120, n_domains=4, seed=1)
    rng = np.random.default_rng(0)
    adata.obsm["spatial"] = adata.obsm["spatial"] + rng.uniform(-3, 3, (adata.n_obs, 2))
    adata.obsm["X_own"] = rng.normal(size=(adata.n_obs, 8)) + adata.obs["domain_true"].cat.codes.to_numpy()[:, None]
    return adata


@pytest.fixture(scope="module")
def section() -> AnnData:
    return make_section()


def use_rep_of(name: str) -> str | None:
    return "X_own" if name.endswith("use_rep") else None


@pytest.fixture(scope="module", params=list(MODELS))
def fitted(request: pytest.FixtureRequest, section: AnnData) -> FeatureModel:
    """A trained model of every kind."""
    return MODELS[request.param].fit(section, use_rep=use_rep_of(request.param), seed=3, progress=False)


@pytest.fixture(scope="module", params=["factors", "averaged", "shared", "spamask"])
def pca_model(request: pytest.FixtureRequest, section: AnnData) -> FeatureModel:
    model = MODELS[request.param]
    return type(model)(model.config).fit(section, seed=3, progress=False)


@pytest.fixture(scope="module", params=["factors", "spamask"])
def rep_model(request: pytest.FixtureRequest, section: AnnData) -> FeatureModel:
    model = MODELS[request.param]
    return type(model)(model.config).fit(section, use_rep="X_own", seed=3, progress=False)


@pytest.fixture(params=["factors", "averaged", "shared", "spamask"])
def untrained(request: pytest.FixtureRequest) -> FeatureModel:
    model = MODELS[request.param]
    return type(model)(model.config)


def make_study(n_sections: int = 4, n_spots: int = 64, n_genes: int = 12, *, n_features: int = 6) -> dict[str, AnnData]:
    """Sections on a square lattice whose genes follow what an image embedding shows, in part; counts, names s0, s1 ...

    Half of the genes follow the embedding, of which half are frequent; the others are noise.
    """
    rng = np.random.default_rng(7)
    slopes = rng.normal(0, 1.0, (n_features, n_genes))
    slopes[:, n_genes // 2 :] = 0
    frequency = np.where(np.arange(n_genes) % 2, 1.0, 20.0)
    side = round(n_spots**0.5)
    lattice = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)
    sections = {}
    for number in range(n_sections):
        shown = rng.normal(size=(side**2, n_features))
        counts = rng.poisson(frequency * np.exp(0.5 * shown @ slopes)).astype(np.float32)
        adata = AnnData(csr_matrix(counts))
        adata.obs_names = [f"spot{i}" for i in range(side**2)]
        adata.var_names = [f"gene{i:02}" for i in range(n_genes)]
        adata.obsm["spatial"] = 200.0 * lattice + rng.uniform(-4, 4, lattice.shape)
        adata.obsm["X_image"] = (3.0 + 2.0 * shown + rng.normal(0, 0.3, shown.shape)).astype(np.float32)
        adata.obsm["X_wide"] = rng.normal(size=(side**2, 3)).astype(np.float32)
        adata.uns["histoquilt"] = {"coordinates": {"unit": "pixel", "mpp": 0.5, "pitch_um": 100.0}}
        sections[f"s{number}"] = adata
    return sections


@pytest.fixture
def study() -> dict[str, AnnData]:
    """Four small sections with an image embedding that tells of half of their genes."""
    return make_study()
