"""Meta-genes on a section where two genes together mark what neither marks alone."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt.tl import meta_genes


@pytest.fixture
def section() -> AnnData:
    """Domain 1 shares "wide" with 2, but "other" marks 2 alone and "also" marks 1 and 3; "rest" evens the depth."""
    rng = np.random.default_rng(0)
    domain = np.repeat([1, 2, 3], 60)
    wide = np.where(domain == 3, 2, 60)
    other = np.where(domain == 2, 40, 1)
    also = np.where(domain == 2, 1, 15)
    counts = rng.poisson(np.column_stack([wide, other, also, *[np.full(180, 10)] * 6]))
    counts = np.column_stack([counts, 2000 - counts.sum(axis=1)])
    adata = AnnData(csr_matrix(counts.astype(np.float32)))
    adata.var_names = ["wide", "other", "also", *[f"noise{i}" for i in range(6)], "rest"]
    adata.obs_names = [f"s{i}" for i in range(180)]
    adata.obs["domain"] = pd.Categorical(domain.astype(str))
    return adata


def test_the_meta_gene_is_sharper_than_its_start(section):
    table = meta_genes(section, "1", start_gene="wide")
    assert list(table.columns) == ["domain", "step", "gene", "sign", "difference", "n_outside"]
    assert table.loc[0, ["gene", "step", "sign"]].tolist() == ["wide", 0, 1]
    first = table[table["step"] == 1].set_index("sign")["gene"]
    assert first.to_dict() == {1: "also", -1: "other"}
    assert table["n_outside"].iloc[0] > 20  # half of domain 2
    assert table["n_outside"].iloc[-1] == 0
    assert table.groupby("step")["difference"].first().is_monotonic_increasing
    meta = section.obsm["meta_genes"]["1"]
    inside = (section.obs["domain"] == "1").to_numpy()
    wide = np.log1p(section[:, "wide"].X.toarray().ravel())
    overlap = [(values[~inside] > np.quantile(values[inside], 0.1)).mean() for values in (wide, meta.to_numpy())]
    assert overlap[0] > 0.4  # nearly all of domain 2
    assert overlap[1] < 0.03


def test_the_profile_is_the_sum_of_its_genes(section):
    table = meta_genes(section, "1", start_gene="wide")
    counts = section.X.toarray().astype(float)
    logged = pd.DataFrame(np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True)), columns=section.var_names)
    summed = (logged[table["gene"]].to_numpy() * table["sign"].to_numpy()).sum(axis=1)
    meta = section.obsm["meta_genes"]["1"].to_numpy()
    np.testing.assert_allclose(meta, summed - summed.min(), atol=1e-5)
    inside = (section.obs["domain"] == "1").to_numpy()
    assert table["difference"].iloc[-1] == pytest.approx(meta[inside].mean() - meta[~inside].mean(), abs=1e-5)
    assert table["n_outside"].iloc[-1] == (meta[~inside] > meta[inside].mean()).sum()


def test_each_domain_by_default(section):
    table = meta_genes(section)
    assert table["domain"].unique().tolist() == ["1", "2", "3"]
    assert list(section.obsm["meta_genes"].columns) == ["1", "2", "3"]
    assert (section.obsm["meta_genes"].min() == 0).all()
    starts = table[table["step"] == 0].set_index("domain")["gene"]
    assert starts["2"] == "other"
    pd.testing.assert_frame_equal(section.uns["meta_genes"], table)


def test_one_domain_after_the_other_gives_the_same(section):
    whole = section.copy()
    meta_genes(whole)
    for name in ("3", "1", "2", "1"):
        meta_genes(section, name)
    pd.testing.assert_frame_equal(section.uns["meta_genes"], whole.uns["meta_genes"])
    pd.testing.assert_frame_equal(section.obsm["meta_genes"], whole.obsm["meta_genes"])


def test_no_step_keeps_the_marker(section):
    table = meta_genes(section, "2", max_steps=0, key_added="mine")
    assert table["gene"].tolist() == ["other"]
    assert set(section.uns) == {"mine", "histoquilt"}
    assert set(section.obsm) == {"mine"}


def test_unlabelled_spots_are_outside(section):
    section.obs["domain"] = section.obs["domain"].where(section.obs["domain"] != "2")
    table = meta_genes(section, "1", start_gene="wide")
    assert table["n_outside"].iloc[0] > 20
    assert section.obsm["meta_genes"]["1"].notna().all()


def test_bad_input(section):
    with pytest.raises(KeyError, match=r"'no' is not in adata\.obs .*domain_key="):
        meta_genes(section, domain_key="no")
    with pytest.raises(ValueError, match=r"'9' is not a domain of obs\['domain'\] \(found: '1', '2', '3'\)"):
        meta_genes(section, "9")
    with pytest.raises(ValueError, match="start_gene= belongs to one domain"):
        meta_genes(section, start_gene="wide")
    with pytest.raises(KeyError, match=r"start_gene='no' is not in adata\.var_names"):
        meta_genes(section, "1", start_gene="no")
    with pytest.raises(ValueError, match="max_steps must not be negative, got -1"):
        meta_genes(section, "1", max_steps=-1)
    small = section[np.r_[0:3, 60:120]].copy()
    with pytest.raises(ValueError, match="Domain '1' has 3 of 63 spots; 5 inside and outside are needed"):
        meta_genes(small, "1")
