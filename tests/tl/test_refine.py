"""Refinement, worked out by hand on a few spots."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt.gr._adjacency import knn_adjacency
from histoquilt.tl import _refine, refine_by_potts, refine_domains
from histoquilt.tl._refine import majority_codes

HEXAGON = np.array([[0, 0], [1, 0], [0.5, 0.866], [-0.5, 0.866], [-1, 0], [-0.5, -0.866], [0.5, -0.866]])


def section(spatial, domains, **obs) -> AnnData:
    names = [f"s{i}" for i in range(len(domains))]
    adata = AnnData(obs=pd.DataFrame({"domain": pd.Categorical(domains), **obs}, index=names))
    adata.obsm["spatial"] = np.asarray(spatial, float)
    return adata


def refined(spatial, domains, **keywords):
    adata = section(spatial, domains)
    refine_domains(adata, **keywords)
    return ["-" if pd.isna(name) else name for name in adata.obs["domain"]]


def square(n):
    rows, columns = np.divmod(np.arange(n * n), n)
    return np.column_stack([columns, rows])


def hexagonal(n):
    rows, columns = np.divmod(np.arange(n * n), n)
    return np.column_stack([columns + 0.5 * (rows % 2), rows * np.sqrt(3) / 2])


def adjacency(n_spots, *edges):
    matrix = np.zeros((n_spots, n_spots), np.float32)
    for i, j in edges:
        matrix[i, j] = matrix[j, i] = 1
    return csr_matrix(matrix)


# seven hexagonal spots: the one in the middle sees all the others, each of these sees three


RING = [(0, i) for i in range(1, 7)] + [(i, i % 6 + 1) for i in range(1, 7)]


def test_the_middle_of_a_hexagon_takes_the_label_of_its_ring():
    codes = np.array([1, 0, 0, 0, 0, 0, 1])
    # middle: 2 of 7 are its own, 5 another's -> changes. Spot 6: sees 0, 1, 5 and itself -> 2 of 4 own -> a tie stays
    assert majority_codes(codes, adjacency(7, *RING), 2).tolist() == [0, 0, 0, 0, 0, 0, 1]


def test_half_is_not_fewer_than_half():
    codes = np.array([1, 0, 0, 0, 0, 1, 1])
    # middle: 3 own of 7, 4 another's -> changes; 5 and 6 hold 3 of 4 in their own neighbourhoods -> stay
    assert majority_codes(codes, adjacency(7, *RING), 2).tolist() == [0, 0, 0, 0, 0, 1, 1]
    codes = np.array([1, 0, 0, 0, 1, 1, 1])  # 4 of 7 own
    assert majority_codes(codes, adjacency(7, *RING), 2).tolist() == codes.tolist()


def test_the_largest_of_three_needs_more_than_half():
    codes = np.array([2, 0, 0, 0, 1, 1, 2])
    # middle: own 2, zeros 3 of 7: nobody holds more than half
    assert majority_codes(codes, adjacency(7, *RING), 3)[0] == 2


def test_all_spots_are_judged_at_once():
    codes = np.array([0, 1, 0, 1])  # a path; each inner spot is outvoted 2:1 by its neighbours, the ends tie
    path = adjacency(4, (0, 1), (1, 2), (2, 3))
    assert majority_codes(codes, path, 2).tolist() == [0, 0, 1, 1]


def test_unlabelled_spots_neither_vote_nor_change():
    codes = np.array([1, 0, 0, -1, -1, -1, -1])
    # middle: voters are itself, 1 and 2 -> 1 of 3 own, 2 of 3 another's -> it would change, but 1 would vanish
    assert majority_codes(codes, adjacency(7, *RING), 2).tolist() == codes.tolist()
    wider = np.r_[codes, [1, 1]]  # two spots far off hold the domain
    far = adjacency(9, *RING, (7, 8))
    assert majority_codes(wider, far, 2).tolist() == [0, 0, 0, -1, -1, -1, -1, 1, 1]


def test_a_domain_that_would_vanish_keeps_its_spots():
    codes = np.array([1, 0, 0, 0, 0, 0, 0])
    assert majority_codes(codes, adjacency(7, *RING), 2).tolist() == codes.tolist()


def test_a_spot_without_neighbours_keeps_its_label():
    assert majority_codes(np.array([0, 1, 1]), adjacency(3, (1, 2)), 2).tolist() == [0, 1, 1]


def test_no_domain_vanishes_on_random_labels():
    rng = np.random.default_rng(0)
    for _ in range(200):
        upper = np.triu(rng.random((12, 12)) < 0.3, 1)
        graph = csr_matrix((upper | upper.T).astype(np.float32))
        codes = rng.integers(-1, 5, 12)
        after = majority_codes(codes, graph, 5)
        assert set(after[codes >= 0]) == set(codes[codes >= 0])
        assert ((after < 0) == (codes < 0)).all()


# through AnnData


def test_seven_hexagonal_spots():
    # so few spots are no lattice: each sees all seven, so both b are outvoted, and b keeps them lest it vanish
    assert refined(HEXAGON, list("baaaaab")) == list("baaaaab")


@pytest.mark.parametrize(("lattice", "middle"), [(square(5), 12), (hexagonal(7), 24)])
def test_a_lone_spot_inside_a_lattice_changes(lattice, middle):
    domains = np.full(len(lattice), "a")
    domains[lattice[:, 0] < 0.6] = "b"  # a column that holds b
    domains[middle] = "b"
    after = refined(lattice, domains)
    assert after[middle] == "a"
    kept = np.arange(len(lattice)) != middle
    assert (np.array(after)[kept] == domains[kept]).all()


def test_lattices_are_recognised():
    for lattice, n_neighbors in ((square(5), 4), (hexagonal(7), 6)):
        adata = section(lattice, ["a"] * len(lattice))
        refine_domains(adata)
        assert adata.uns["histoquilt"]["domain"] == {"refined": True, "refine_neighbors": n_neighbors}


def test_square_3x3_ties_stay():
    """Middle: own b, neighbours a a b b -> 3 of 5 own. Then a a a b -> 2 of 5 own, 3 of 5 another's."""
    tie = ["a", "a", "a", "a", "b", "b", "b", "b", "b"]
    assert refined(square(3), tie, n_neighbors=4)[4] == "b"
    outvoted = ["a", "a", "a", "a", "b", "a", "b", "b", "b"]
    assert refined(square(3), outvoted, n_neighbors=4)[4] == "a"


def test_unlabelled_spots_stay_unlabelled():
    domains = ["a"] * 12 + ["b"] + ["a"] * 10 + [np.nan, "b"]
    after = refined(square(5), domains)
    assert after[12] == "a"
    assert after[23] == "-"


def test_sections_are_apart_and_their_lattice_is_known():
    """Two sections on the same coordinates: together no lattice, and each would outvote the other."""
    lattice = square(5)
    spatial = np.concatenate([lattice, lattice])
    domains = np.array(["a"] * 25 + ["b"] * 25)
    domains[12] = "b"
    adata = section(spatial, domains, section=["one"] * 25 + ["two"] * 25)
    refine_domains(adata, section_key="section", key_added="fine")
    assert list(adata.obs["fine"]) == ["a"] * 25 + ["b"] * 25
    assert list(adata.obs["domain"]) == list(domains)
    assert adata.uns["histoquilt"]["fine"]["refine_neighbors"] == 4


def test_scattered_cells():
    """No lattice: the six nearest vote."""
    rng = np.random.default_rng(0)
    spatial = rng.uniform(0, 10, (200, 2))
    truth = np.where(spatial[:, 0] < 5, "a", "b")
    noisy = truth.copy()
    flipped = rng.choice(np.flatnonzero(np.abs(spatial[:, 0] - 5) > 2), 8, replace=False)
    noisy[flipped] = np.where(truth[flipped] == "a", "b", "a")
    after = np.array(refined(spatial, noisy))
    assert (after[flipped] == truth[flipped]).mean() > 0.8
    assert (after != truth).mean() < (noisy != truth).mean()


def test_categories_and_their_order_stay():
    adata = section(square(5), ["a"] * 25)
    adata.obs["domain"] = pd.Categorical(["2"] * 24 + ["10"], categories=["2", "10", "unused"])
    refine_domains(adata)
    assert list(adata.obs["domain"].cat.categories) == ["2", "10", "unused"]


def test_refining_warns_of_nothing(recwarn):
    spatial = square(5).astype(float)
    spatial[24] = [500, 500]
    refined(spatial, ["a"] * 24 + ["b"])
    assert not recwarn.list


def test_missing_keys():
    adata = section(square(3), ["a"] * 9)
    with pytest.raises(KeyError, match=r"'no' is not in adata\.obs .*domain_key="):
        refine_domains(adata, domain_key="no")
    with pytest.raises(KeyError, match="spatial_key="):
        refine_domains(adata, spatial_key="no")
    with pytest.raises(KeyError, match=r"'no' is not in adata\.obs .*section_key="):
        refine_domains(adata, section_key="no")
    with pytest.raises(ValueError, match="n_neighbors must be"):
        refine_domains(adata, n_neighbors=0)


def test_votes_do_not_depend_on_the_chunks(monkeypatch):
    rng = np.random.default_rng(0)
    graph = knn_adjacency(rng.uniform(size=(500, 2)), 6)
    graph.data[:] = 1
    codes = rng.integers(-1, 3, 500)
    at_once = majority_codes(codes, graph, 3)
    monkeypatch.setattr(_refine, "_CHUNK", 64)
    assert majority_codes(codes, graph, 3).tolist() == at_once.tolist()


# a Potts field


def noisy_halves():
    """Left and right of a lattice, expression with noise, and the labels that expression alone gives."""
    rng = np.random.default_rng(0)
    spatial = hexagonal(20)
    truth = (spatial[:, 0] > 10).astype(int)
    expression = truth[:, None] + rng.normal(0, 0.5, (400, 3))
    labels = np.where(expression.mean(axis=1) > 0.5, "b", "a")
    adata = section(spatial, labels)
    adata.obsm["X_domains"] = expression
    return adata, np.array(["a", "b"])[truth]


def test_potts_repairs_and_records():
    adata, truth = noisy_halves()
    noisy = adata.obs["domain"].to_numpy()
    refine_by_potts(adata, key_added="smooth")
    assert (adata.obs["domain"] == noisy).all()
    assert (adata.obs["smooth"] != truth).sum() < 0.3 * (noisy != truth).sum()
    facts = adata.uns["histoquilt"]["smooth"]
    assert facts["refined"]
    assert facts["refine_neighbors"] == 6
    assert 0.5 < facts["potts_beta"] <= 3


def test_potts_keeps_categories_sections_and_unlabelled_spots():
    adata, _ = noisy_halves()
    domains = adata.obs["domain"].cat.set_categories(["b", "unused", "a"])
    domains.iloc[[3, 250]] = np.nan
    adata.obs["domain"] = domains
    adata.obs["section"] = np.where(np.arange(400) < 200, "one", "two")
    refine_by_potts(adata, section_key="section")
    assert list(adata.obs["domain"].cat.categories) == ["b", "unused", "a"]
    assert np.flatnonzero(adata.obs["domain"].isna()).tolist() == [3, 250]
    assert adata.obs["domain"].nunique() == 2


def test_potts_needs_an_embedding():
    adata, _ = noisy_halves()
    with pytest.raises(KeyError, match="use_rep="):
        refine_by_potts(adata, use_rep="no")
    adata.obsm["X_domains"][0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        refine_by_potts(adata)
    with pytest.raises(KeyError, match="domain_key="):
        refine_by_potts(adata, domain_key="no")
