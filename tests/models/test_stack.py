import logging

import numpy as np
import pytest

import histoquilt as hq
from histoquilt.datasets import paired_study
from histoquilt.metrics import depth_adjusted_correlation
from histoquilt.models import MissingCountsError, Stack, StackConfig, load
from histoquilt.models.expression._inner_validation import InnerFold, gene_correlations
from histoquilt.models.stack._weights import Moments, choose_weights

MEMBERS = ("reduced_rank_ridge", "knn_cosine")
FOLDS = [InnerFold(tuple(j for j in range(4) if j != i), (i,)) for i in range(4)]


def simulated(n_members: int, quality: list[float], seed: int = 0) -> list[Moments]:
    rng = np.random.default_rng(seed)
    sections = []
    for _ in range(4):
        truth = rng.normal(size=(100, 20))
        predicted = [share * truth + rng.normal(size=truth.shape) for share in quality[:n_members]]
        sections.append(Moments.of(truth, predicted, None))
    return sections


@pytest.fixture(scope="module")
def both():
    return paired_study(kind="both", n_sections=4, n_spots=80, n_genes=30, seed=0)


@pytest.fixture(scope="module")
def stack(both):
    return Stack(StackConfig(members=MEMBERS)).fit({n: both[n] for n in ("s1", "s2", "s3")}, use_rep="X_image")


def test_moments_give_the_correlation_of_every_weighted_mean():
    rng = np.random.default_rng(0)
    truth, one, two = rng.normal(size=(3, 50, 7))
    found = Moments.of(truth, [one, two], None).score(np.array([0.3, 0.7]))
    assert found == pytest.approx(gene_correlations(truth, 0.3 * one + 0.7 * two).mean())


def test_moments_take_out_the_depth():
    rng = np.random.default_rng(0)
    depth = rng.integers(100, 10_000, 60)
    noise = rng.normal(size=(2, 60, 5))
    truth, predicted = (np.log(depth)[:, None] + 0.1 * one for one in noise)
    assert Moments.of(truth, [predicted], None).score(np.ones(1)) > 0.9
    assert abs(Moments.of(truth, [predicted], depth).score(np.ones(1))) < 0.3


def test_spots_without_counts_and_equal_depths_change_no_score():
    rng = np.random.default_rng(0)
    depth = rng.integers(100, 10_000, 60)
    truth, predicted = rng.normal(size=(2, 60, 5)) + np.log(depth)[:, None]
    score = Moments.of(truth, [predicted], depth).score(np.ones(1))
    adjusted = depth_adjusted_correlation(truth, predicted, np.log(depth))
    assert score == pytest.approx(adjusted.mean())
    blank = [np.vstack([one, np.zeros((5, 5))]) for one in (truth, predicted)]
    assert Moments.of(blank[0], [blank[1]], np.append(depth, np.zeros(5, int))).score(np.ones(1)) == pytest.approx(
        score
    )
    plain = Moments.of(truth, [predicted], None).score(np.ones(1))
    assert Moments.of(truth, [predicted], np.full(60, 7)).score(np.ones(1)) == pytest.approx(plain)


def test_sections_without_counts_do_not_choose_weights():
    sections = dict(enumerate(simulated(2, [0.5, 0.0])))
    del sections[3]
    assert choose_weights(sections, FOLDS).weights.tolist() == choose_weights(sections, FOLDS[:3]).weights.tolist()


def test_a_member_without_weight_is_dropped_with_its_expression():
    study = paired_study(kind="pairing", n_sections=4, n_spots=80, n_genes=30, seed=0)
    model = Stack(StackConfig(members=("reduced_rank_ridge", "knn_cosine"))).fit(study, use_rep="X_image")
    if model.training_facts["chosen"]["weights"]["knn_cosine"] == 0:  # as chance is all that it knows
        assert not model.keeps_expression
    else:
        assert model.keeps_expression


def test_a_member_that_knows_nothing_gets_no_weight_and_two_good_ones_share():
    found = choose_weights(dict(enumerate(simulated(3, [0.5, 0.5, 0.0]))), FOLDS)
    assert found.validated
    assert found.weights[2] <= 0.1
    assert abs(found.weights[0] - 0.5) <= 0.15
    assert found.score > found.of_members.max()


def test_weights_are_equal_where_folds_cannot_tell():
    equal = [choose_weights(dict(enumerate(simulated(2, [0.5, 0.5], seed))), FOLDS) for seed in range(5)]
    assert sum(not one.validated for one in equal) >= 3
    assert all(one.weights.tolist() == [0.5, 0.5] for one in equal if not one.validated)


def test_it_predicts_the_weighted_mean_of_its_members(both, stack):
    weights = stack.training_facts["chosen"]["weights"]
    assert min(weights["reduced_rank_ridge"], weights["knn_cosine"]) >= 0.2  # each knows half of the genes
    training = {name: both[name] for name in ("s1", "s2", "s3")}
    parts = [
        hq.models.ReducedRankRidge().fit(training, use_rep="X_image").predict(both["s4"]).layers,
        hq.models.cosine_neighbours().fit(training, use_rep="X_image").predict(both["s4"]).layers,
    ]
    expected = weights["reduced_rank_ridge"] * parts[0]["predicted_reduced_rank_ridge"]
    expected = expected + weights["knn_cosine"] * parts[1]["predicted_knn"]
    predicted = stack.predict(both["s4"])
    np.testing.assert_allclose(predicted.layers["predicted_stack"], expected, atol=0.02)  # parts are clipped at 0
    truth = predicted.layers["measured_log1p_cp10k"]
    score = gene_correlations(truth, expected).mean()
    assert score > max(gene_correlations(truth, next(iter(one.values()))).mean() for one in parts) + 0.05


def test_a_saved_stack_predicts_the_same_and_says_what_it_is_made_of(both, stack, tmp_path):
    stack.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    np.testing.assert_array_equal(
        loaded.predict(both["s4"]).layers["predicted_stack"], stack.predict(both["s4"]).layers["predicted_stack"]
    )
    assert loaded.keeps_expression  # of the retrieval member
    chosen = loaded.training_facts["chosen"]
    assert sum(chosen["weights"].values()) == pytest.approx(1)
    assert set(chosen["inner_scores"]) == {*MEMBERS, "stack"}
    assert chosen["at_equal_depth"]
    used = loaded.training_facts["moments"]["own"]
    assert set(used) == {name for name, weight in chosen["weights"].items() if weight}
    averaged = {one["own_moments"] for one in chosen["members"]["reduced_rank_ridge"]["averaged"]}
    assert used["reduced_rank_ridge"] == ("both" if len(averaged) == 2 else averaged.pop())
    assert set(chosen["members"]) == set(MEMBERS)


def test_networks_can_be_members_and_training_resumes_in_their_own_folder(both, tmp_path):
    training = {name: both[name] for name in ("s1", "s2", "s3")}
    config = StackConfig(members=("ridge_plain", "spahgc"), n_genes=5)
    model = Stack(config).fit(training, use_rep="X_image", checkpoint=tmp_path / "kept")
    assert model.has_network
    assert model.draws
    assert model.training_facts["chosen"]["weights"]["spahgc"] > 0
    assert list((tmp_path / "kept" / "spahgc").iterdir())
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(
        load(tmp_path / "model").predict(both["s4"]).layers["predicted_stack"],
        model.predict(both["s4"]).layers["predicted_stack"],
    )


def test_a_member_that_lacks_raw_counts_is_left_out(both, caplog):
    training = {}
    for name in ("s1", "s2", "s3"):
        training[name] = one = both[name].copy()
        counts = one.X.toarray().astype(float)
        one.X = np.log1p(1e4 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
        one.uns["histoquilt"]["scale"] = {"X": "log1p_cp10k"}
    with caplog.at_level(logging.INFO, "histoquilt"):
        model = Stack(StackConfig(members=("count_regression", "ridge_plain"))).fit(training, use_rep="X_image")
    assert "count_regression is left out" in caplog.text
    assert model.members == {"ridge_plain": 1.0}
    assert not model.training_facts["chosen"]["at_equal_depth"]  # without raw counts
    with pytest.raises(MissingCountsError, match="learns from raw counts"):
        Stack(StackConfig(members=("count_regression",))).fit(training, use_rep="X_image")


def test_predictions_name_the_members(both, stack):
    recorded = stack.predict(both["s4"]).uns["histoquilt"]["prediction"]
    assert recorded["members"].startswith("reduced_rank_ridge 0.")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ((), "one or more"),
        (("knn", "knn"), "each once"),
        (("stack",), "not a stack"),
        (("kn",), "Did you mean 'knn'"),
    ],
)
def test_members_are_checked(members, words):
    with pytest.raises(ValueError, match=words):
        StackConfig(members=members)
