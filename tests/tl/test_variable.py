"""Spatially variable genes: moments by hand and by all permutations, planted patterns, sections kept apart."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix, diags
from scipy.stats import norm

from histoquilt.gr import knn_graph
from histoquilt.io import read_h5ad
from histoquilt.metrics import morans_i
from histoquilt.tl import compare_denoised, spatially_variable_genes
from histoquilt.tl._variable import _variance


def chain(n: int) -> csr_matrix:
    """``n`` spots in a row, each linked to the next."""
    return csr_matrix(diags([1.0, 1.0], [-1, 1], shape=(n, n)))


@pytest.fixture
def planted() -> AnnData:
    """A 20 x 20 grid of equal depth: gene "step" is high on the left, "noise" has no pattern, "flat" is the same."""
    rng = np.random.default_rng(0)
    rows, columns = np.divmod(np.arange(400), 20)
    step = np.where(columns < 10, 30, 5) + rng.poisson(3, 400)
    counts = np.column_stack([rng.poisson(20, (400, 30)), step, np.full(400, 10)])
    counts = np.column_stack([counts, 1200 - counts.sum(axis=1)])
    adata = AnnData(csr_matrix(counts.astype(np.float32)), obsm={"spatial": np.column_stack([columns, rows])})
    adata.var_names = [f"noise{i}" for i in range(30)] + ["step", "flat", "rest"]
    adata.uns["truth"] = {"columns": columns}
    knn_graph(adata, 4)
    return adata


@pytest.mark.parametrize("values", [[0, 0, 1, 1, 5, 2], [3, 1, 0, 0, 0, 9]])
def test_variance_is_that_over_all_orders(values):
    graph = chain(6).tolil()
    graph[0, 3] = graph[3, 0] = 2.0
    graph = csr_matrix(graph)
    values = np.array(values, float) - np.mean(values)
    orders = np.array(list(permutations(values)))
    indices = morans_i(orders.T, graph)
    assert indices.mean() == pytest.approx(-1 / 5)
    assert _variance(values[:, None], graph)[0] == pytest.approx(indices.var())


def test_z_and_p_are_those_of_the_normal_distribution(planted):
    table = spatially_variable_genes(planted).set_index("gene")
    tested = table.drop(index="flat")
    np.testing.assert_allclose(tested["p"], norm.sf(tested["z"]))
    values = np.log1p(1e4 * planted[:, "noise3"].X.toarray().ravel() / 1200)
    expected = morans_i(values, planted.obsp["spatial_connectivities"])
    assert table.loc["noise3", "moran_i"] == pytest.approx(expected, rel=1e-5)


def test_the_planted_gene_is_found_and_noise_is_not(planted):
    table = spatially_variable_genes(planted)
    assert list(table.columns) == ["gene", "moran_i", "z", "p", "p_adjusted"]
    assert table["gene"][0] == "step"
    assert table["moran_i"][0] > 0.7
    noise = table[table["gene"].str.startswith("noise")]
    assert (noise["p_adjusted"] > 0.05).all()
    assert (noise["p"] < 0.05).mean() < 0.2
    assert table["moran_i"].dropna().is_monotonic_decreasing
    assert planted.var["moran_i"]["step"] == table["moran_i"][0]
    assert planted.var["moran_p_adjusted"]["step"] < 1e-10


def test_a_gene_without_variance_is_not_tested(planted):
    table = spatially_variable_genes(planted)
    assert table["gene"].iloc[-1] == "flat"
    assert table.iloc[-1][["moran_i", "z", "p", "p_adjusted"]].isna().all()
    assert np.isnan(planted.var["moran_p_adjusted"]["flat"])


def test_p_values_of_shuffled_genes_are_uniform():
    rng = np.random.default_rng(1)
    counts = rng.poisson(3, (400, 400))
    adata = AnnData(csr_matrix(counts.astype(np.float32)))
    adata.obsm["spatial"] = rng.uniform(size=(400, 2))
    knn_graph(adata, 6)
    p = spatially_variable_genes(adata)["p"]
    assert abs((p < 0.05).mean() - 0.05) < 0.035
    assert abs(p.mean() - 0.5) < 0.05


def test_benjamini_hochberg_by_hand(planted):
    table = spatially_variable_genes(planted).dropna().sort_values("p")
    ranked = table["p"].to_numpy() * len(table) / np.arange(1, len(table) + 1)
    expected = np.minimum.accumulate(ranked[::-1])[::-1].clip(max=1)
    np.testing.assert_allclose(table["p_adjusted"], expected)


def test_sections_are_kept_apart(planted):
    """Two sections on top of each other, linked by mistake; a gene that is merely higher in one has no pattern."""
    rng = np.random.default_rng(0)
    half = np.arange(400) % 2
    planted.obs["section"] = pd.Categorical(np.where(half, "b", "a"))
    counts = planted.X.toarray()
    counts[:, 0] = np.where(half, 60, 10) + rng.poisson(5, 400)
    planted.X = csr_matrix(counts)
    knn_graph(planted, 4, section_key="section")
    alone = planted.obsp["spatial_connectivities"].copy()
    table = spatially_variable_genes(planted, section_key="section").set_index("gene")
    assert table.loc["noise0", "p"] > 0.01
    assert spatially_variable_genes(planted).set_index("gene").loc["noise0", "moran_i"] > 0.5
    order = np.argsort(half, kind="stable")
    linked = alone.tolil()
    linked[order[:-1], order[1:]] = linked[order[1:], order[:-1]] = 1
    same_section = half[order[:-1]] == half[order[1:]]
    kept = alone.tolil()
    kept[order[:-1][same_section], order[1:][same_section]] = 1
    kept[order[1:][same_section], order[:-1][same_section]] = 1
    planted.obsp["with_links"], planted.obsp["without"] = csr_matrix(linked), csr_matrix(kept)
    first = spatially_variable_genes(planted, graph_key="with_links", section_key="section")
    second = spatially_variable_genes(planted, graph_key="without", section_key="section")
    pd.testing.assert_frame_equal(first, second)


def test_shuffling_spots_changes_nothing(planted):
    order = np.random.default_rng(0).permutation(400)
    shuffled = planted[order].copy()
    first, second = spatially_variable_genes(planted), spatially_variable_genes(shuffled)
    pd.testing.assert_frame_equal(first, second)


def test_raw_against_denoised(planted):
    columns = planted.uns["truth"]["columns"]
    rng = np.random.default_rng(0)
    denoised = pd.DataFrame(
        {"step": np.where(columns < 10, 3.0, 1.0), "noise1": rng.normal(size=400), "noise2": np.zeros(400)},
        index=planted.obs_names,
    )
    planted.obsm["denoised"] = denoised
    table = compare_denoised(planted)
    assert list(table.columns) == ["gene", "moran_raw", "moran_denoised", "correlation"]
    assert table["gene"].tolist() == ["step", "noise1", "noise2"]
    found = table.set_index("gene")
    raw = spatially_variable_genes(planted).set_index("gene")
    assert found.loc["step", "moran_raw"] == pytest.approx(raw.loc["step", "moran_i"], abs=1e-6)
    assert found.loc["step", "moran_denoised"] == pytest.approx(
        morans_i(denoised["step"].to_numpy(), planted.obsp["spatial_connectivities"])
    )
    assert found.loc["step", "moran_denoised"] > found.loc["step", "moran_raw"]
    assert found.loc["step", "correlation"] > 0.9
    assert abs(found.loc["noise1", "correlation"]) < 0.2
    assert np.isnan(found.loc["noise2", "moran_denoised"])
    assert compare_denoised(planted, ["noise1"])["gene"].tolist() == ["noise1"]


def test_bad_input(planted):
    bare = planted.copy()
    del bare.obsp["spatial_connectivities"]
    with pytest.raises(KeyError, match=r"'spatial_connectivities' is not in adata\.obsp .*graph_key="):
        spatially_variable_genes(bare)
    with pytest.raises(KeyError, match=r"'no' is not in adata\.obs .*section_key="):
        spatially_variable_genes(planted, section_key="no")
    with pytest.raises(KeyError, match=r"'denoised' is not in adata\.obsm .*denoise=True"):
        compare_denoised(planted)
    planted.obsm["denoised"] = pd.DataFrame({"step": np.zeros(400)}, index=planted.obs_names)
    with pytest.raises(KeyError, match=r"'noise1' was not denoised \(e\.g\. 'step' were\)"):
        compare_denoised(planted, ["noise1"])
    planted.obs["section"] = pd.Categorical([np.nan] + ["a"] * 399)
    with pytest.raises(ValueError, match="1 of 400 spots have no section"):
        spatially_variable_genes(planted, section_key="section")
    few = AnnData(csr_matrix(np.eye(3, dtype=np.float32)), obsp={"spatial_connectivities": chain(3)})
    with pytest.raises(ValueError, match="needs at least 4 spots, got 3"):
        spatially_variable_genes(few)
    planted.obsp["none"] = csr_matrix((400, 400))
    with pytest.raises(ValueError, match="no spot has a neighbour"):
        spatially_variable_genes(planted, graph_key="none")


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore:.*(have no counts|pieces)")
def test_myelin_genes_vary_in_the_cortex(data_dir):
    """White matter against grey: MBP, PLP1 and MOBP are among the first ten of a cortex section."""
    adata = read_h5ad(data_dir / "dlpfc" / "151673.h5ad")
    knn_graph(adata, 6)
    table = spatially_variable_genes(adata)
    assert {"ENSG00000197971", "ENSG00000123560", "ENSG00000168314"} <= set(table["gene"][:10])
    assert 0.05 < (table["p_adjusted"] < 0.01).mean() < 0.6
