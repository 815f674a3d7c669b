"""The toy tissue: its contract, its difficulty, and that more spots are more tissue."""

import numpy as np
import pytest
from scipy.sparse import isspmatrix_csr
from scipy.spatial import cKDTree
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from histoquilt.datasets import _expression, toy_section


def codes(adata) -> np.ndarray:
    return adata.obs["domain_true"].cat.codes.to_numpy()


def components(adata) -> np.ndarray:
    counts = adata.X.toarray()
    logged = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
    return PCA(30, random_state=0).fit_transform(logged)


def k_means_ari(features: np.ndarray, adata) -> float:
    found = KMeans(adata.obs["domain_true"].nunique(), n_init=5, random_state=0).fit_predict(features)
    return adjusted_rand_score(codes(adata), found)


def averaged_twice(features: np.ndarray, adata) -> np.ndarray:
    neighbours = cKDTree(adata.obsm["spatial"]).query(adata.obsm["spatial"], k=13)[1]
    for _ in range(2):
        features = features[neighbours].mean(axis=1)
    return features


@pytest.mark.parametrize(("n_spots", "seed"), [*((1500, seed) for seed in range(10)), (5000, 0), (5000, 1), (20000, 0)])
def test_hard_from_expression_alone_and_plain_with_neighbours(n_spots, seed):
    adata = toy_section(n_spots, seed=seed)
    features = components(adata)
    assert 0.3 < k_means_ari(features, adata) < 0.6
    assert k_means_ari(averaged_twice(features, adata), adata) > 0.68


def test_the_contract():
    adata = toy_section(seed=0)
    assert adata.shape == (1500, 500)
    assert isspmatrix_csr(adata.X)
    assert adata.X.dtype == np.float32
    assert adata.X.indices.dtype == np.int32
    assert adata.X.has_sorted_indices
    assert (adata.X.data >= 1).all()
    assert (adata.X.data == np.rint(adata.X.data)).all()
    assert adata.uns["histoquilt"]["scale"] == {"X": "counts"}
    assert adata.uns["histoquilt"]["coordinates"] == {"unit": "micron", "mpp": 1.0, "pitch_um": 100.0}
    assert adata.obs_names.is_unique
    assert adata.var_names.is_unique
    assert list(adata.obs.columns) == ["domain_true"]
    assert (adata.obs["domain_true"].value_counts() > 50).all()


def test_the_lattice_is_hexagonal_at_100_microns():
    spatial = toy_section(800, 50, seed=3).obsm["spatial"]
    apart = cKDTree(spatial).query(spatial, k=7)[0][:, 1:]
    assert apart.min() == pytest.approx(100, abs=1e-6)
    # all but those on the rim have all six
    assert np.isclose(apart, 100).all(axis=1).mean() > 0.8


def test_counts_look_like_a_real_section():
    adata = toy_section(3000, seed=0)
    depth = np.asarray(adata.X.sum(axis=1)).ravel()
    mean = np.asarray(adata.X.mean(axis=0)).ravel()
    assert 300 < np.median(depth) < 700
    assert 0.25 < np.log(depth).std() < 0.6
    assert abs(((np.log(depth) - np.log(depth).mean()) ** 3).mean() / np.log(depth).std() ** 3) < 0.6  # log-normal
    assert np.log10(np.quantile(mean, 0.995) / np.quantile(mean, 0.005)) > 2.4
    # more variable than Poisson within a domain, and many zeros
    dense = adata.X.toarray()[codes(adata) == 2]
    assert np.median(dense.var(axis=0) / dense.mean(axis=0)) > 1.05
    assert 0.5 < (dense == 0).mean() < 0.7


def test_depth_varies_smoothly_as_well_as_by_spot():
    adata = toy_section(3000, seed=1)
    depth = np.log(np.asarray(adata.X.sum(axis=1)).ravel())
    around = depth[cKDTree(adata.obsm["spatial"]).query(adata.obsm["spatial"], k=7)[1][:, 1:]].mean(axis=1)
    assert 0.2 < np.corrcoef(depth, around)[0, 1] < 0.8


def test_markers_mark():
    adata = toy_section(seed=0)
    dense = adata.X.toarray()
    share = dense / dense.sum(axis=1, keepdims=True)
    names = adata.obs["domain_true"].cat.categories
    assert set(adata.var["marker_of"]) == {"", *names}
    by_domain = np.stack([share[(adata.obs["domain_true"] == name).to_numpy()].mean(axis=0) for name in names])
    seen = np.flatnonzero((adata.var["marker_of"] != "").to_numpy() & (dense.mean(axis=0) > 0.3))
    assert len(seen) > 40
    highest = names[by_domain[:, seen].argmax(axis=0)]
    assert (highest == adata.var["marker_of"].to_numpy()[seen]).mean() > 0.97


def test_thin_layers_and_islands_in_several_pieces():
    from scipy.sparse.csgraph import connected_components

    adata = toy_section(5000, 50, seed=0)
    pairs = cKDTree(adata.obsm["spatial"]).sparse_distance_matrix(cKDTree(adata.obsm["spatial"]), 110).tocsr()
    for name in ("island1", "island2"):
        inside = (adata.obs["domain_true"] == name).to_numpy()
        assert connected_components(pairs[inside][:, inside])[0] >= 3
    thin = (adata.obs["domain_true"] == "layer2").to_numpy()
    rim = (pairs.astype(bool).astype(int) @ (~thin).astype(int) > 0)[thin].mean()
    assert rim > 0.4  # most of a thin layer is its border


def test_more_spots_are_more_of_the_same_tissue():
    small, large = toy_section(2000, 50, seed=0), toy_section(8000, 50, seed=0)
    assert np.ptp(large.obsm["spatial"], axis=0) == pytest.approx(2 * np.ptp(small.obsm["spatial"], axis=0), rel=0.05)

    def share_at_a_border(adata) -> float:
        neighbours = cKDTree(adata.obsm["spatial"]).query(adata.obsm["spatial"], k=7)[1]
        return (codes(adata)[neighbours] != codes(adata)[:, None]).any(axis=1).mean()

    assert share_at_a_border(large) == pytest.approx(share_at_a_border(small), rel=0.15)


def test_serial_sections():
    adata = toy_section(1000, 200, n_sections=3, seed=4)
    assert adata.n_obs == 3000
    assert adata.obs_names.is_unique
    assert list(adata.obs["section"].cat.categories) == ["s1", "s2", "s3"]
    assert adata.obs.groupby("section", observed=True)["z_um"].first().tolist() == [0, 100, 200]
    first, second, third = (adata[adata.obs["section"] == name] for name in ("s1", "s2", "s3"))

    # shapes differ, but nearly every place holds the same domain, less so the further apart the sections
    def agreement(one, other) -> float:
        near, spot = cKDTree(other.obsm["spatial"]).query(one.obsm["spatial"])
        domain = one.obs["domain_true"].to_numpy() == other.obs["domain_true"].to_numpy()[spot]
        return domain[near < 60].mean()

    assert 0.75 < agreement(first, second) < 1
    assert agreement(first, third) < agreement(first, second)
    assert not np.array_equal(first.obsm["spatial"], second.obsm["spatial"])
    # a batch effect on each gene, larger than what sampling alone does
    total = np.stack([np.asarray(part.X.sum(axis=0)).ravel() + 1 for part in (first, second)])
    change = np.log(total[0] / total[0].sum()) - np.log(total[1] / total[1].sum())
    abundant = total.min(axis=0) > 300
    assert 0.2 < change[abundant].std() < 0.6


def test_same_seed_same_tissue_and_nothing_global():
    np.random.seed(0)  # noqa: NPY002
    one = toy_section(300, 60, 4, seed=7)
    np.random.seed(1)  # noqa: NPY002
    two = toy_section(300, 60, 4, seed=7)
    other = toy_section(300, 60, 4, seed=8)
    assert (one.X != two.X).nnz == 0
    assert np.array_equal(one.obsm["spatial"], two.obsm["spatial"])
    assert one.obs.equals(two.obs)
    assert one.var.equals(two.var)
    assert (one.X != other.X).nnz > 0


def test_the_number_of_genes_does_not_move_the_domains():
    assert toy_section(300, 60, seed=2).obs.equals(toy_section(300, 200, seed=2).obs)


def test_small_chunks_make_a_valid_matrix(monkeypatch):
    monkeypatch.setattr(_expression, "VALUES_PER_CHUNK", 60 * 7)
    adata = toy_section(200, 60, seed=0)
    adata.X.check_format(full_check=True)
    assert adata.shape == (200, 60)
    assert (np.asarray(adata.X.sum(axis=1)) > 0).mean() > 0.99


@pytest.mark.parametrize("n_domains", [2, 3, 5, 9, 12])
@pytest.mark.parametrize("seed", range(4))
def test_the_smallest_section_still_shows_every_domain(n_domains, seed):
    adata = toy_section(20 * n_domains, 40, n_domains, seed=seed)
    assert adata.obs["domain_true"].value_counts().min() >= 2


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match=r"n_spots is 50, too few to show 6 domains: make at least 120"):
        toy_section(50)
    with pytest.raises(ValueError, match="n_genes is 5, too few for 6 domains: make at least 12 genes"):
        toy_section(500, 5)
    with pytest.raises(ValueError, match="n_domains must be at least 2"):
        toy_section(n_domains=1)
    with pytest.raises(ValueError, match="n_sections must be at least 1"):
        toy_section(n_sections=0)
    with pytest.raises(ValueError, match="seed must not be negative"):
        toy_section(seed=-1)
    with pytest.raises(TypeError, match=r"n_spots must be a whole number, got 1500\.0"):
        toy_section(1500.0)
