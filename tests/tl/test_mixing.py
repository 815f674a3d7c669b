"""Mixing before and after: on an embedding that is apart by section, and one that is mixed."""

import numpy as np
import pytest

from histoquilt.datasets import toy_section
from histoquilt.tl import _mixing
from histoquilt.tl._mixing import harmony, write_mixing


@pytest.fixture(scope="module")
def apart():
    """120 spots in each of two sections; in X_pca the second is moved as a whole, in X_domains it is not."""
    adata = toy_section(n_spots=120, n_genes=60, n_domains=3, n_sections=2, seed=0)
    rng = np.random.default_rng(0)
    codes = adata.obs["domain_true"].cat.codes.to_numpy()
    mixed = np.eye(3)[codes] * 8 + rng.normal(0, 1, (240, 3))
    adata.obsm["X_domains"] = mixed.astype(np.float32)
    second = (adata.obs["section"] == "s2").to_numpy()
    adata.obsm["X_pca"] = (mixed + 5 * second[:, None]).astype(np.float32)
    adata.obs["domain"] = adata.obs["domain_true"]
    return adata


def values(adata, metric):
    table = adata.uns["histoquilt"]["mixing"]
    return table[(table["metric"] == metric) & (table["sections"] == "all")].set_index("embedding")["value"]


def test_before_harmony_and_after(apart):
    adata = apart.copy()
    write_mixing(adata, use_rep="X_pca")
    ilisi, clisi = values(adata, "ilisi"), values(adata, "clisi")
    assert list(ilisi.index) == ["before", "harmony", "histoquilt"]
    assert ilisi["before"] < 1.1  # apart
    assert ilisi["harmony"] > 1.5
    assert ilisi["histoquilt"] > 1.5
    assert (clisi < 1.3).all()  # domains stay apart in all three
    np.testing.assert_array_equal(adata.obsm["X_before"], apart.obsm["X_pca"])
    assert adata.obsm["X_harmony"].shape == (240, 3)
    assert adata.obsm["X_harmony"].dtype == np.float32


def test_principal_components_of_genes_come_before(apart):
    adata = apart.copy()
    write_mixing(adata)
    assert adata.obsm["X_before"].shape == (240, 30)
    assert list(adata.uns["histoquilt"]["mixing"]["embedding"].unique()) == ["before", "harmony", "histoquilt"]


def test_without_harmony(apart, monkeypatch, caplog):
    adata = apart.copy()
    monkeypatch.setattr(_mixing, "is_installed", lambda name: False)
    with caplog.at_level("INFO", logger="histoquilt"):
        write_mixing(adata, use_rep="X_pca")
    assert "harmonypy is not installed" in caplog.text
    assert "X_harmony" not in adata.obsm


def test_harmony_is_reproducible_and_draws_from_no_global_state(apart):
    sections = apart.obs["section"].astype(str).to_numpy()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first = harmony(apart.obsm["X_pca"], sections, seed=1)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    assert (harmony(apart.obsm["X_pca"], sections, seed=1) == first).all()
