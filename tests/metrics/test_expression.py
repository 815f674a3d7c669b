"""Scores per gene against working by hand and scipy; summaries, gene sets and oracles."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csc_matrix, csr_array, csr_matrix, diags
from scipy.stats import pearsonr, spearmanr

from histoquilt import metrics
from histoquilt.metrics import _expression


def case(n_spots=60, n_genes=23, seed=0):
    """Counts, so that there are ties, and a prediction that knows something of them."""
    rng = np.random.default_rng(seed)
    truth = np.log1p(rng.poisson(1.2, (n_spots, n_genes))).astype(float)
    return truth, 0.4 * truth + rng.normal(0, 0.5, truth.shape), [f"g{i}" for i in range(n_genes)]


def test_by_hand():
    scores = metrics.score_genes([[1.0], [2.0], [3.0], [6.0]], [[2.0], [1.0], [3.0], [2.0]], ["g"]).loc["g"]
    # truth centred -2 -1 0 3 (squares 14), prediction centred 0 -1 1 0 (squares 2): products 1
    assert scores["pearson"] == pytest.approx(1 / np.sqrt(28))
    # ranks 1 2 3 4 and 2.5 1 4 2.5: centred products 0 + .75 + .75 + 0 = 1.5, squares 5 and 4.5
    assert scores["spearman"] == pytest.approx(1.5 / np.sqrt(5 * 4.5))
    assert scores["mse"] == pytest.approx((1 + 1 + 0 + 16) / 4)
    assert scores["mae"] == pytest.approx((1 + 1 + 0 + 4) / 4)
    assert scores["rmse"] == pytest.approx(np.sqrt(18 / 4))
    assert not scores["undefined"]


@pytest.mark.parametrize(
    "as_matrix", [np.asarray, csr_matrix, csc_matrix, csr_array], ids=["dense", "csr", "csc", "arr"]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_agrees_with_scipy(as_matrix, dtype):
    truth, predicted, genes = case()
    truth, predicted = truth.astype(dtype), predicted.astype(dtype)
    scores = metrics.score_genes(as_matrix(truth), as_matrix(predicted), genes)
    for i, gene in enumerate(genes):
        a, b = truth[:, i].astype(float), predicted[:, i].astype(float)
        assert scores.loc[gene, "pearson"] == pytest.approx(pearsonr(a, b)[0], abs=1e-10)
        assert scores.loc[gene, "spearman"] == pytest.approx(spearmanr(a, b)[0], abs=1e-10)
        assert scores.loc[gene, "mse"] == pytest.approx(((a - b) ** 2).mean(), abs=1e-12)


def test_blocks_and_the_order_of_spots_change_nothing(monkeypatch):
    truth, predicted, genes = case()
    expected = metrics.score_genes(truth, predicted, genes)
    order = np.random.default_rng(1).permutation(len(truth))
    monkeypatch.setattr(_expression, "BLOCK_VALUES", 60 * 4)
    pd.testing.assert_frame_equal(metrics.score_genes(truth[order], predicted[order], genes), expected, atol=1e-12)


def test_a_gene_without_variation_scores_0_and_is_counted():
    truth, predicted, genes = case(n_genes=4)
    truth[:, 1] = 0.1
    predicted[:, 2] = 0.7
    scores = metrics.score_genes(truth, predicted, genes)
    assert scores["undefined"].tolist() == [False, True, True, False]
    assert (scores.loc[["g1", "g2"], ["pearson", "spearman"]] == 0).all(axis=None)
    assert (scores["mse"] > 0).all()


def test_the_rounding_of_a_constant_is_no_pattern():
    """The training mean, smoothed in float32, differs in its last bits, and they follow the number of neighbours."""
    truth = np.random.default_rng(0).normal(size=(200, 1))
    constant = (np.full((200, 1), 1.7) * (1 + 2e-7 * np.sign(truth))).astype(np.float32)
    assert len(np.unique(constant)) > 1
    assert metrics.score_genes(truth, constant, ["g"]).loc["g", "undefined"]
    small = 1e-9 * truth  # small is not constant
    assert metrics.score_genes(truth, small, ["g"]).loc["g", "pearson"] == pytest.approx(1)


def test_a_large_offset_does_not_spoil_the_correlation():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 500, 1))
    expected = metrics.score_genes(a, b, ["g"]).loc["g", "pearson"]
    assert metrics.score_genes(a + 1e7, b, ["g"]).loc["g", "pearson"] == pytest.approx(expected, abs=1e-7)


def test_what_score_genes_refuses():
    truth, predicted, genes = case(n_genes=3)
    with pytest.raises(ValueError, match=r"truth \(60, 3\) and predicted \(60, 2\).*same spots"):
        metrics.score_genes(truth, predicted[:, :2], genes)
    with pytest.raises(ValueError, match="3 genes, but 2 names"):
        metrics.score_genes(truth, predicted, genes[:2])
    with pytest.raises(ValueError, match="must be unique; repeated: 'g0'"):
        metrics.score_genes(truth, predicted, ["g0", "g0", "g1"])
    with pytest.raises(ValueError, match="at least 2 of them, got 1"):
        metrics.score_genes(truth[:1], predicted[:1], genes)
    predicted[5, 1] = np.nan
    with pytest.raises(ValueError, match=r"predicted holds NaN.*'g1'.*leave it out of both"):
        metrics.score_genes(truth, predicted, genes)


def sections():
    """Two sections of opposite level; inside them the prediction knows nothing, or the reverse of the truth."""
    up = np.array([[0.0], [1.0], [2.0]])
    return (
        {"a": pd.DataFrame(up, columns=["g"]), "b": pd.DataFrame(up + 10, columns=["g"])},
        {"a": pd.DataFrame(-up, columns=["g"]), "b": pd.DataFrame(10 - up, columns=["g"])},
    )


def test_pooling_rewards_the_level_of_a_section_and_centring_does_not():
    truth, predicted = sections()
    scores = metrics.score_sections(truth, predicted).set_index("section")["pearson"]
    assert scores["a"] == pytest.approx(-1)
    assert scores["pooled"] > 0.9
    assert scores["pooled_centred"] == pytest.approx(-1)


def test_a_prediction_constant_in_each_section_is_undefined_after_centring():
    truth, predicted = sections()
    predicted = {name: 0 * table + {"a": 0.1, "b": 0.3}[name] for name, table in predicted.items()}
    scores = metrics.score_sections(truth, predicted).set_index("section")
    assert scores.loc[["a", "b", "pooled_centred"], "undefined"].all()
    assert scores.loc["pooled", "pearson"] > 0.9


def test_panels_may_differ_between_sections():
    truth, predicted, genes = case(n_genes=3)
    tables = [pd.DataFrame(matrix, columns=genes) for matrix in (truth, predicted)]
    measured = {"a": tables[0], "b": tables[0][["g2", "g1", "g0"]]}
    guess = {"a": tables[1][["g0", "g1"]], "b": tables[1][["g2", "g1"]]}
    scores = metrics.score_sections(measured, guess)
    assert scores.groupby("section")["gene"].agg(list).to_dict() == {
        "a": ["g0", "g1"], "b": ["g2", "g1"], "pooled": ["g1"], "pooled_centred": ["g1"],
    }  # fmt: skip
    expected = metrics.score_genes(truth, predicted, genes)["pearson"]
    assert scores["pearson"].tolist() == pytest.approx(expected[scores["gene"]].tolist())


def test_what_score_sections_refuses():
    truth, predicted = sections()
    with pytest.raises(KeyError, match="truth has no such section"):
        metrics.score_sections({"a": truth["a"]}, predicted)
    with pytest.raises(KeyError, match=r"1 predicted gene.*not measured: 'h'"):
        metrics.score_sections(truth, {"a": predicted["a"].rename(columns={"g": "h"})})
    with pytest.raises(ValueError, match="3 measured and 2 predicted spots"):
        metrics.score_sections(truth, {"a": predicted["a"][:2]})
    with pytest.raises(ValueError, match="No section may be called 'pooled'"):
        metrics.score_sections(truth, {"pooled": predicted["a"]})
    with pytest.raises(ValueError, match="predicted is empty"):
        metrics.score_sections(truth, {})


def test_a_summary_drops_no_gene():
    truth, predicted, genes = case(n_genes=5)
    predicted[:, :2] = 1.0
    scores = metrics.score_genes(truth, predicted, genes)
    table = metrics.summarise_genes(scores, {"panel": genes, "top2_mean": ["g0", "g4"]})
    assert list(table) == [
        "gene_set",
        "n_genes",
        "n_undefined",
        "pcc_mean",
        "pcc_median",
        "spearman_mean",
        "mse",
        "rmse",
        "mae",
    ]
    assert table[["n_genes", "n_undefined"]].to_numpy().tolist() == [[5, 2], [2, 1]]
    assert table.loc[1, "pcc_mean"] == pytest.approx(scores.loc["g4", "pearson"] / 2)
    assert table.loc[0, "pcc_median"] == pytest.approx(np.median([0, 0, *scores["pearson"][2:]]))
    with pytest.raises(KeyError, match=r"'mine' names 1 gene\(s\) without a score: 'x'"):
        metrics.summarise_genes(scores, {"mine": ["g0", "x"]})
    with pytest.raises(ValueError, match="'mine' is empty"):
        metrics.summarise_genes(scores, {"mine": []})
    with pytest.raises(ValueError, match="gene_sets is empty"):
        metrics.summarise_genes(scores, {})


@pytest.mark.parametrize("as_matrix", [np.asarray, csr_matrix], ids=["dense", "csr"])
def test_moments_are_within_sections(as_matrix):
    rng = np.random.default_rng(0)
    a, b = rng.poisson(1.0, (40, 3)).astype(np.float32), rng.poisson(1.0, (25, 3)).astype(np.float32) + 50
    means, variances = metrics.training_moments([as_matrix(a), as_matrix(b)])
    assert means == pytest.approx((a.mean(axis=0) + b.mean(axis=0)) / 2)
    assert variances == pytest.approx(
        (a.var(axis=0, dtype=float) + b.var(axis=0, dtype=float)) / 2
    )  # without the 50 between them
    with pytest.raises(ValueError, match=r"differ in their number of genes \(\[2, 3\]\)"):
        metrics.training_moments([a, b[:, :2]])
    with pytest.raises(ValueError, match="no training section"):
        metrics.training_moments([])


def test_gene_sets_come_from_training_alone():
    genes = [f"g{i}" for i in range(80)]
    means, variances = np.arange(80.0), np.arange(80.0)[::-1]
    sets = metrics.gene_sets_of_training(means, variances, genes)
    thirds = ["highest_third", "middle_third", "lowest_third"]
    assert list(sets) == ["panel", "top50_mean", "top50_variable", *thirds]
    assert [len(sets[name]) for name in thirds] == [27, 27, 26]
    assert sets["highest_third"] == genes[:52:-1]
    assert sets["top50_mean"] == genes[:29:-1]
    assert sets["top50_variable"] == genes[:50]
    assert metrics.gene_sets_of_training(np.zeros(3), np.zeros(3), ["c", "a", "b"])["top50_mean"] == ["c", "a", "b"]
    with pytest.raises(ValueError, match="variances must be one finite number for each of the 80 genes"):
        metrics.gene_sets_of_training(means, variances[:3], genes)
    with pytest.raises(ValueError, match="n_top must be at least 1"):
        metrics.gene_sets_of_training(means, variances, genes, n_top=0)


def test_the_neighbours_of_a_spot_by_hand():
    row = csr_matrix(diags([2.0, 2.0], [-1, 1], shape=(4, 4)))
    row[3, 2] = row[2, 3] = 0  # the last spot is alone
    row.setdiag(1)
    guess = metrics.neighbour_oracle([[1.0], [2.0], [6.0], [9.0]], row)
    assert guess.ravel().tolist() == [2.0, 3.5, 2.0, 3.0]
    assert (metrics.neighbour_oracle(csr_matrix([[1.0], [2.0], [6.0], [9.0]]), row) == guess).all()
    with pytest.raises(TypeError, match="adjacency must be a scipy sparse matrix"):
        metrics.neighbour_oracle([[1.0], [2.0]], np.eye(2))
    with pytest.raises(ValueError, match=r"got \(2, 1\) and \(4, 4\)"):
        metrics.neighbour_oracle([[1.0], [2.0]], row)


def test_the_depth_oracle_needs_a_number_per_spot():
    truth, _, genes = case()
    with pytest.raises(ValueError, match=r"one number per spot, \(60,\), got \(3,\)"):
        metrics.depth_oracle(truth, [1.0, 2.0, 3.0], genes)
