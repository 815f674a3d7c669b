"""Domains of real tissue: each section runs and gives the number asked for; no label is there to be read."""

import anndata
import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from histoquilt.io import read_h5ad
from histoquilt.tl import spatial_domains

pytestmark = pytest.mark.real_data
LABELS = ["layer_guess", "layer", "label"]

SECTIONS = [
    ("dlpfc/151673.h5ad", 7, None),
    ("her2st/A1.h5ad", 5, None),
    ("starmap/visual_cortex_BY3_1k.h5ad", 7, None),
    ("mob_layers/rep11.h5ad", 5, None),
    ("mob/MOB1.h5ad", 4, None),
    ("dlpfc_pca/151507.h5ad", 7, "X_pca"),
]


def without_labels(adata: anndata.AnnData) -> anndata.AnnData:
    adata.obs = adata.obs.drop(columns=[name for name in LABELS if name in adata.obs])
    return adata


@pytest.mark.parametrize(("name", "n_domains", "use_rep"), SECTIONS, ids=[name for name, _, _ in SECTIONS])
@pytest.mark.filterwarnings("ignore:.*(have no counts|pieces|repeat the coordinates|mean-variance fit failed)")
def test_a_real_section_gives_the_domains_asked_for(data_dir, small_config, name, n_domains, use_rep):
    adata = without_labels(read_h5ad(data_dir / name))
    spatial_domains(adata, n_domains, use_rep=use_rep, config=small_config, progress=False)
    assert list(adata.obs["domain"].cat.categories) == [str(i + 1) for i in range(n_domains)]
    assert adata.obs["domain"].notna().all()
    assert adata.obs["domain"].nunique() == n_domains
    assert np.isfinite(adata.obsm["X_domains"]).all()
    assert ("denoised" in adata.obsm) == (use_rep is None)
    if name == "dlpfc/151673.h5ad":  # truth is read after everything is written
        truth = anndata.read_h5ad(data_dir / name).obs["layer_guess"]
        labelled = truth.notna()
        assert adjusted_rand_score(truth[labelled], adata.obs["domain"][labelled]) > 0.3


@pytest.mark.filterwarnings("ignore:.*(have no counts|pieces|mean-variance fit failed)")
def test_the_smallest_section(data_dir, small_config):
    """34 spots of a mouse spinal cord."""
    paths = sorted((data_dir / "als_spinal_cord").glob("*.h5ad"))
    sizes = {path: anndata.read_h5ad(path, backed="r").n_obs for path in paths}
    adata = read_h5ad(min(sizes, key=sizes.get))
    assert adata.n_obs == 34
    spatial_domains(adata, 3, config=small_config, progress=False)
    assert adata.obs["domain"].nunique() == 3
    assert adata.obsm["denoised"].shape[0] == 34
