import logging
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import squidpy as sq
from anndata import AnnData
from scipy.sparse import csr_matrix

import histoquilt as hq
from histoquilt.gr import grid_graph, knn_graph, radius_graph


def section(xy: np.ndarray) -> AnnData:
    xy = np.asarray(xy, dtype=float)
    return AnnData(obs=pd.DataFrame(index=[f"s{i}" for i in range(len(xy))]), obsm={"spatial": xy})


def square_grid(n_side: int, origin: float = 0) -> np.ndarray:
    rows, columns = np.divmod(np.arange(n_side**2), n_side)
    return np.column_stack([columns + origin, rows]).astype(float)


@pytest.fixture
def scattered() -> AnnData:
    return section(np.random.default_rng(0).uniform(0, 100, (150, 2)))


def test_what_is_written_by_hand():
    adata = section([[0, 0], [1, 0], [3, 0], [6, 0]])
    knn_graph(adata, 1)
    np.testing.assert_array_equal(
        adata.obsp["spatial_distances"].toarray(), [[0, 1, 0, 0], [1, 0, 2, 0], [0, 2, 0, 3], [0, 0, 3, 0]]
    )
    connectivities = adata.obsp["spatial_connectivities"]
    assert connectivities.dtype == np.float32
    assert connectivities.indices.dtype == np.int32
    np.testing.assert_array_equal(connectivities.toarray(), [[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]])
    assert adata.uns["spatial_neighbors"] == {
        "connectivities_key": "spatial_connectivities",
        "distances_key": "spatial_distances",
        "params": {"n_neighbors": 1, "coord_type": "generic", "spatial_key": "spatial", "transform": "none"},
    }


def test_radius_and_grid_record_how_they_were_made(scattered):
    radius_graph(scattered, 30, key_added="near")
    assert scattered.uns["near_neighbors"]["params"]["radius"] == 30
    adata = section(square_grid(5))
    grid_graph(adata, 4)
    assert adata.uns["spatial_neighbors"]["params"]["coord_type"] == "grid"
    assert np.bincount(np.diff(adata.obsp["spatial_connectivities"].indptr)).tolist() == [0, 0, 4, 12, 9]


def test_other_keys(scattered):
    scattered.obsm["xy"] = scattered.obsm.pop("spatial")
    knn_graph(scattered, 4, spatial_key="xy", key_added="k4")
    assert set(scattered.obsp) == {"k4_connectivities", "k4_distances"}
    assert scattered.uns["k4_neighbors"]["params"]["spatial_key"] == "xy"


def test_doubles_survive_storing(tmp_path):
    adata = section([[0, 0], [0, 0], [1, 0], [2, 0]])
    with pytest.warns(UserWarning, match="1 of 4 spots repeat the coordinates"):
        knn_graph(adata, 1)
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    for stored in (adata, again):
        assert stored.obsp["spatial_connectivities"][0, 1] == 1
        assert stored.obsp["spatial_distances"].nnz == stored.obsp["spatial_connectivities"].nnz
        assert stored.obsp["spatial_distances"][0, 1] == 0
    assert again.uns["spatial_neighbors"]["params"]["n_neighbors"] == 1


def test_sections_never_share_an_edge_whatever_their_order():
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 100, (120, 2))  # the sections lie on top of each other
    names = rng.permutation(np.repeat(["b", "a", "c"], [70, 45, 5]))
    adata = section(xy)
    adata.obs["section"] = pd.Categorical(names, categories=["a", "b", "c", "unused"])
    knn_graph(adata, 6, section_key="section")
    graph = adata.obsp["spatial_distances"]
    rows, columns = graph.nonzero()
    assert (names[rows] == names[columns]).all()
    assert graph.indices.dtype == np.int32
    assert graph.has_sorted_indices
    for name in "abc":  # and each is the graph that it would have alone
        alone = adata[names == name].copy()
        knn_graph(alone, 6)
        of_section = np.flatnonzero(names == name)
        inside = graph[of_section][:, of_section]
        np.testing.assert_array_equal(inside.toarray(), alone.obsp["spatial_distances"].toarray())
    assert adata.uns["spatial_neighbors"]["params"]["section_key"] == "section"


def test_doubles_across_sections_are_no_doubles():
    adata = section(np.vstack([square_grid(4), square_grid(4)]))
    adata.obs["section"] = np.repeat([1, 2], 16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        knn_graph(adata, 4, section_key="section")


def test_doubles_within_a_section_stay_linked_when_sections_are_put_together():
    adata = section([[0, 0], [5, 5], [0, 0], [5, 6], [1, 0], [6, 6]])
    adata.obs["section"] = ["x", "y", "x", "y", "x", "y"]
    with pytest.warns(UserWarning, match="1 of 6 spots repeat"):
        knn_graph(adata, 2, section_key="section")
    assert adata.obsp["spatial_connectivities"][0, 2] == 1
    assert adata.obsp["spatial_connectivities"].nnz == 12


def test_shuffled_spots_shuffle_rows(scattered):
    scattered.obs["section"] = np.where(np.arange(150) % 3, "a", "b")
    knn_graph(scattered, 6, section_key="section")
    order = np.random.default_rng(1).permutation(150)
    shuffled = section(scattered.obsm["spatial"][order])
    shuffled.obs["section"] = scattered.obs["section"].to_numpy()[order]
    knn_graph(shuffled, 6, section_key="section")
    expected = scattered.obsp["spatial_distances"][order][:, order].toarray()
    np.testing.assert_array_equal(shuffled.obsp["spatial_distances"].toarray(), expected)


def test_isolated_spots_are_told_and_kept():
    adata = section(np.vstack([square_grid(4), [[50, 50], [80, 80]]]))
    with pytest.warns(UserWarning, match="2 of 18 spots have no neighbour") as caught:
        radius_graph(adata, 1.0)
    assert len(caught) == 1, "isolated spots are no pieces of tissue"
    assert adata.obsp["spatial_connectivities"].shape == (18, 18)


def test_disconnected_tissue_is_told():
    adata = section(np.vstack([square_grid(5), square_grid(5, origin=100)]))
    with pytest.warns(UserWarning, match="form 2 separate pieces"):
        knn_graph(adata, 4)


def test_disconnected_tissue_is_told_also_where_spots_are_doubled():
    adata = section(np.vstack([square_grid(5), square_grid(5, origin=100), [[0, 0]]]))
    with pytest.warns(UserWarning, match="form 2 separate pieces"), pytest.warns(UserWarning, match="repeat"):
        knn_graph(adata, 4)


def test_sections_are_pieces_by_intent_but_a_torn_one_is_told():
    adata = section(np.vstack([square_grid(5), square_grid(5, origin=100)]))
    adata.obs["section"] = np.repeat(["a", "b"], 25)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        knn_graph(adata, 4, section_key="section")
    torn = section(np.vstack([adata.obsm["spatial"], square_grid(5, origin=200)]))
    torn.obs["section"] = np.repeat(["a", "b", "b"], 25)
    with pytest.warns(UserWarning, match="of 2 sections form 3 separate pieces"):
        knn_graph(torn, 4, section_key="section")


def test_warnings_point_at_the_callers_line():
    adata = section([[0, 0], [0, 0], [1, 0]])
    with pytest.warns(UserWarning, match="repeat") as direct:
        knn_graph(adata, 1)
    assert Path(direct[0].filename) == Path(__file__)
    adata = hq.datasets.toy_section(n_spots=80, n_genes=40, n_domains=2, seed=0)
    adata.obsm["spatial"][1] = adata.obsm["spatial"][0]
    config = hq.models.SpatialFactorsConfig(n_pcs=10)
    with pytest.warns(UserWarning, match="repeat") as nested:
        hq.tl.spatial_domains(adata, 2, config=config, progress=False)
    assert {Path(w.filename) for w in nested if "repeat" in str(w.message)} == {Path(__file__)}


def test_size_is_logged(scattered, caplog):
    with caplog.at_level(logging.INFO, logger="histoquilt"):
        knn_graph(scattered, 6)
    assert "150 spots" in caplog.text


@pytest.mark.parametrize("n_spots", [1, 2])
def test_one_and_two_spots(n_spots):
    adata = section(np.arange(2.0 * n_spots).reshape(-1, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error" if n_spots == 2 else "ignore")
        knn_graph(adata, 12)
    assert adata.obsp["spatial_connectivities"].nnz == 2 * (n_spots - 1)


def test_missing_section_names(scattered):
    scattered.obs["section"] = ["a"] * 140 + [None] * 10
    with pytest.raises(ValueError, match="10 of 150 spots have no section"):
        knn_graph(scattered, section_key="section")


def test_missing_keys(scattered):
    with pytest.raises(KeyError, match=r"'slice' is not in adata.obs .*section_key="):
        knn_graph(scattered, section_key="slice")
    with pytest.raises(KeyError, match=r"'xy' is not in adata\.obsm"):
        knn_graph(scattered, spatial_key="xy")
    with pytest.raises(ValueError, match="radius must be positive"):
        radius_graph(scattered, -3)
    assert not scattered.obsp
    assert not scattered.uns


def test_squidpy_and_scanpy_read_the_graph():
    adata = hq.datasets.toy_section(n_spots=300, n_genes=60, n_domains=3, seed=0)
    x = adata.obsm["spatial"][:, 0]
    adata.obs["half"] = pd.Categorical(np.where(x < np.median(x), "left", "right"))
    grid_graph(adata, 6)
    sq.gr.nhood_enrichment(adata, cluster_key="half", n_perms=50, seed=0, show_progress_bar=False)
    zscore = adata.uns["half_nhood_enrichment"]["zscore"]
    assert zscore[0, 0] > 3 > -3 > zscore[0, 1], "halves of a tissue are their own neighbours"
    sc.tl.leiden(adata, neighbors_key="spatial_neighbors", flavor="igraph", n_iterations=2, random_state=0)
    assert len(adata.obs["leiden"].cat.categories) > 1


@pytest.mark.real_data
@pytest.mark.parametrize("k", [6, 12])
def test_real_visium(data_dir, k):
    adata = anndata.read_h5ad(data_dir / "dlpfc" / "151673.h5ad")
    knn_graph(adata, k)
    graph = adata.obsp["spatial_connectivities"]
    degrees = np.diff(graph.indptr)
    assert degrees.min() >= k
    assert np.median(degrees) <= k + 2
    assert (graph != graph.T).nnz == 0


def test_csr_is_what_obsp_holds(scattered):
    knn_graph(scattered)
    assert isinstance(scattered.obsp["spatial_connectivities"], csr_matrix)
