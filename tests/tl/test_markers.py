"""Markers of domains by hand and on a planted gene, and the two-dimensional view."""

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt.datasets import toy_section
from histoquilt.study.expression import _chunks
from histoquilt.tl import domain_markers, umap

COLUMNS = ["domain", "gene", "symbol", "score", "log2_fold_change", "p_adjusted", "share_in", "share_out"]


@pytest.fixture
def planted() -> AnnData:
    """Ten genes of no meaning, and one that only domain 2 expresses; 30 spots a domain."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(20, (90, 11))
    domain = np.repeat(["1", "2", "3"], 30)
    counts[:, 4] = np.where(domain == "2", rng.poisson(15, 90) + 1, 0)
    counts[:3, 4] = 2  # three spots of domain 1 hold a little
    obs = pd.DataFrame({"domain": pd.Categorical(domain)}, index=[f"s{i}" for i in range(90)])
    adata = AnnData(csr_matrix(counts.astype(np.float32)), obs=obs)
    adata.var_names = [f"ENSG{i}" for i in range(11)]
    adata.var["gene_symbol"] = [f"SYM{i}" for i in range(10)] + [np.nan]
    return adata


def test_the_planted_marker_is_first(planted):
    assert domain_markers(planted) is None
    table = planted.uns["domain_markers"]
    assert list(table.columns) == COLUMNS
    best = table[table["domain"] == "2"].iloc[0]
    assert (best["gene"], best["symbol"]) == ("ENSG4", "SYM4")
    assert best["p_adjusted"] < 1e-10
    assert best["log2_fold_change"] > 3
    assert (best["share_in"], best["share_out"]) == (1.0, pytest.approx(3 / 60))
    for _, of_domain in table.groupby("domain"):
        assert of_domain["score"].is_monotonic_decreasing


def test_shares_and_fold_change_by_hand():
    """Depth is the same everywhere, so CP10K is 1,000 times the count."""
    marker = np.array([0, 2, 4, 6, 0, 0, 1, 0])
    adata = AnnData(csr_matrix(np.column_stack([marker, 10 - marker]).astype(np.float32)))
    adata.obs["domain"] = pd.Categorical(list("aaaabbbb"))
    domain_markers(adata, key_added="found")
    row = adata.uns["found"].set_index(["domain", "gene"]).loc[("a", "0")]
    assert (row["share_in"], row["share_out"]) == (0.75, 0.25)
    logged = np.log1p(1000.0 * marker)
    change = np.log2(np.expm1(logged[:4].mean()) / np.expm1(logged[4:].mean()))
    assert row["log2_fold_change"] == pytest.approx(change, rel=1e-3)


def test_toy_markers_are_those_planted(result):
    domain_markers(result, domain_key="domain_true", n_genes=3)
    table = result.uns["domain_markers"]
    true = result.var["marker_of"].reindex(table["gene"]).to_numpy()
    assert (true == table["domain"].to_numpy()).mean() > 0.7


def test_declared_scale_gives_the_same_table(planted):
    domain_markers(planted)
    counts = planted.X.toarray()
    logged = planted.copy()
    logged.X = csr_matrix(np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True)).astype(np.float32))
    logged.uns["histoquilt"] = {"scale": {"X": "log1p_cp10k"}}
    domain_markers(logged)
    pd.testing.assert_frame_equal(logged.uns["domain_markers"], planted.uns["domain_markers"], rtol=1e-3)


def test_layer_and_number_of_genes(planted):
    planted.layers["mine"] = planted.X.copy()
    planted.X = csr_matrix(planted.shape, dtype=np.float32)
    domain_markers(planted, layer="mine", n_genes=2)
    assert planted.uns["domain_markers"].groupby("domain").size().tolist() == [2, 2, 2]


def test_a_gene_without_symbol_shows_its_name(planted):
    domain_markers(planted, n_genes=11)
    table = planted.uns["domain_markers"].drop_duplicates("gene").set_index("gene")
    assert table.loc["ENSG10", "symbol"] == "ENSG10"
    assert table.loc["ENSG3", "symbol"] == "SYM3"


def test_single_spots_and_unlabelled_ones(planted):
    domains = planted.obs["domain"].astype(object)
    domains.iloc[0], domains.iloc[1] = "lonely", np.nan
    planted.obs["domain"] = pd.Categorical(domains, categories=["1", "2", "3", "lonely", "unused"])
    domain_markers(planted)
    table = planted.uns["domain_markers"]
    assert list(table["domain"].unique()) == ["1", "2", "3"]
    best = table[table["domain"] == "2"].iloc[0]
    assert best["share_out"] == pytest.approx(3 / 60)  # the lonely and the unlabelled spot are outside, too


def test_one_domain_of_several_spots(planted):
    planted = planted[[0, *range(30, 60)]].copy()
    domain_markers(planted, n_genes=2)
    assert planted.uns["domain_markers"]["domain"].unique().tolist() == ["2"]


def test_domains_named_by_numbers(planted):
    planted.obs["cluster"] = planted.obs["domain"].astype(int)
    domain_markers(planted, domain_key="cluster")
    assert planted.uns["domain_markers"]["domain"].unique().tolist() == ["1", "2", "3"]


def test_nothing_else_is_changed(planted):
    before = planted.copy()
    domain_markers(planted)
    assert (planted.X != before.X).nnz == 0
    assert set(planted.uns) == {"domain_markers", "histoquilt"}
    pd.testing.assert_frame_equal(planted.obs, before.obs)


def test_bad_input(planted):
    with pytest.raises(KeyError, match=r"'no' is not in adata\.obs .*domain_key="):
        domain_markers(planted, domain_key="no")
    with pytest.raises(KeyError, match=r"'no' is not in adata\.layers"):
        domain_markers(planted, layer="no")
    planted.obs["one"] = "a"
    with pytest.raises(ValueError, match=r"Markers compare domains, and obs\['one'\] holds 1\. Ask for at least 2"):
        domain_markers(planted, domain_key="one")
    singles = planted[[0, 30, 60]].copy()
    with pytest.raises(ValueError, match=r"Every domain in obs\['domain'\] is a single spot"):
        domain_markers(singles)
    planted.X = planted.X.multiply(0.5).tocsr()
    with pytest.raises(ValueError, match="Raw counts are needed"):
        domain_markers(planted)


def test_umap(result):
    umap(result, seed=1)
    first = result.obsm["X_umap"].copy()
    assert first.shape == (result.n_obs, 2)
    assert np.isfinite(first).all()
    assert "neighbors" not in result.uns  # the graph in the embedding is not left behind
    umap(result, seed=1, key_added="again")
    assert (result.obsm["again"] == first).all()
    with pytest.raises(KeyError, match="use_rep="):
        umap(result, use_rep="X_no")


@pytest.mark.parametrize("n_genes", [5, 80])
@pytest.mark.parametrize("chunk_values", [20_000, 2**22], ids=["100 spots at a time", "whole"])
def test_genes_rank_as_scanpy_ranks_them(n_genes, chunk_values, monkeypatch):
    adata = toy_section(n_spots=600, n_genes=80, n_domains=4, seed=0)
    domains = adata.obs["domain_true"].astype(str).to_numpy()
    adata.obs["domain"] = pd.Categorical(np.where(np.arange(600) % 7 == 0, None, domains))  # some are unlabelled
    adata.X = csr_matrix(adata.X.multiply(np.arange(80) != 3))  # a gene without a count
    monkeypatch.setattr(_chunks, "_CHUNK_VALUES", chunk_values)
    domain_markers(adata, n_genes=n_genes)
    found = adata.uns["domain_markers"]
    groups = adata.obs["domain"].cat.categories.tolist()
    assert len(found) == n_genes * len(groups)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    settings = {"method": "t-test_overestim_var", "n_genes": n_genes, "pts": True, "groups": groups}
    sc.tl.rank_genes_groups(adata, "domain", **settings)
    expected = sc.get.rank_genes_groups_df(adata, group=groups)
    assert found["gene"].tolist() == expected["names"].tolist()
    names = ["score", "log2_fold_change", "p_adjusted", "share_in", "share_out"]
    theirs = expected[["scores", "logfoldchanges", "pvals_adj", "pct_nz_group", "pct_nz_reference"]]
    np.testing.assert_allclose(found[names], theirs, rtol=1e-3, atol=1e-6)
