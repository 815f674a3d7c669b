from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from histoquilt.metrics import depth_adjusted_correlation
from histoquilt.models import NearestNeighbours, ReducedRankRidge, RidgeOnEmbedding
from histoquilt.models.expression import _inner_validation
from histoquilt.models.expression._inner_validation import (
    InnerFold,
    gene_correlations,
    inner_folds,
    part_of_sections,
    reliability,
    smooth,
)


def test_every_section_is_held_out_once_and_never_with_its_group_in_training():
    groups = ["a", "b", "a", "c", "d", "e", "f", "g", "g"]
    folds = inner_folds(groups)
    assert len(folds) == 5
    assert sorted(i for fold in folds for i in fold.held_out) == list(range(9))
    for fold in folds:
        assert not {groups[i] for i in fold.train} & {groups[i] for i in fold.held_out}
        assert sorted(fold.train + fold.held_out) == list(range(9))


def test_one_group_cannot_be_left_out():
    with pytest.raises(ValueError, match="at least two groups"):
        inner_folds(["a", "a"])


def test_correlations_agree_with_numpy_and_undefined_ones_are_zero():
    rng = np.random.default_rng(0)
    truth, predicted = rng.normal(size=(2, 30, 4)).astype(np.float32)
    truth[:, 2] = 5.0
    predicted[:, 3] = np.float32(0.1)
    found = gene_correlations(truth, predicted)
    np.testing.assert_allclose(found[:2], [np.corrcoef(truth[:, g], predicted[:, g])[0, 1] for g in (0, 1)], rtol=1e-6)
    assert found[2:].tolist() == [0, 0]


def test_reliability_by_hand():
    truth = [np.array([[0.0, 1.0], [2.0, 1.0]]), np.array([[1.0, 3.0], [3.0, 5.0]])]
    folds = [InnerFold((1,), (0,)), InnerFold((0,), (1,))]
    perfect = [truth[0][:, :1], truth[1][:, :1]]
    as_the_mean = [np.full((2, 1), 4.0), np.full((2, 1), 1.0)]  # what the other section's gene 1 averages
    held_out = [np.hstack(pair) for pair in zip(perfect, as_the_mean, strict=True)]
    found = reliability(truth, held_out, folds, [np.array([10.0, 20.0]), None])
    np.testing.assert_allclose(found.correlation, [1, 0], atol=1e-12)
    assert found.adjusted.tolist() == [0, 0]  # two spots are always on a line
    assert found.beats_mean.tolist() == [True, False]
    assert found.n_folds == 2


def test_without_held_out_predictions_nothing_is_claimed():
    found = reliability([np.ones((3, 2))] * 2, None, inner_folds(["a", "b"]), [None, None])
    assert np.isnan(found.correlation).all()
    assert np.isnan(found.adjusted).all()
    assert found.caution == ""
    assert not found.beats_mean.any()
    assert found.n_folds == 0


@pytest.mark.parametrize(
    ("of_depth", "of_gene", "words"),
    [(1.0, 0.0, "mostly how many counts they have"), (0.0, 0.0, "next to nothing"), (1.0, 1.0, ""), (None, 0.0, "")],
)
def test_reliability_at_equal_depth_says_what_is_only_depth(of_depth, of_gene, words):
    """Two sections with raw counts and one without, all of whose genes follow depth and a pattern of their own."""
    rng = np.random.default_rng(0)
    depth = rng.integers(200, 4000, (3, 60)).astype(float)
    depth[0, 7] = 0
    log_depth = np.log(np.maximum(depth, 1))
    pattern = rng.normal(size=(3, 60, 5))
    truth = [log_depth[i][:, None] + pattern[i] for i in range(3)]
    noise = rng.normal(size=(3, 60, 5))
    share = of_depth or 0.0
    held_out = [share * log_depth[i][:, None] + of_gene * pattern[i] + 0.3 * noise[i] for i in range(3)]
    known = [depth[0], depth[1], None] if of_depth is not None else [None] * 3
    found = reliability(truth, held_out, inner_folds(["a", "b", "c"]), known)
    assert words in found.caution
    assert bool(words) == bool(found.caution)
    if of_depth is None:
        assert np.isnan(found.adjusted).all()
        return
    counted = depth[0] > 0
    values = [
        depth_adjusted_correlation(truth[0][counted], held_out[0][counted], log_depth[0][counted]),
        depth_adjusted_correlation(truth[1], held_out[1], log_depth[1]),
    ]
    np.testing.assert_allclose(found.adjusted, np.mean(values, axis=0))


def test_smoothing_by_hand():
    line = csr_matrix(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=np.float32))
    values = np.array([[0.0], [4.0], [7.0]], dtype=np.float32)
    np.testing.assert_array_equal(smooth(values, line, 0), values)
    np.testing.assert_allclose(smooth(values, line, 1), [[2], [2], [7]])


def test_a_small_study_is_judged_whole_and_a_large_one_on_a_part():
    def taken(sizes, **options):
        train = [SimpleNamespace(x=np.zeros((size, 1))) for size in sizes]
        found = part_of_sections(train, range(len(sizes)), **options)
        return [(i, len(train[i].x[rows])) for i, rows in found]

    assert taken([1_500, 400]) == [(0, 1_500), (1, 400)]
    assert taken([500] * 100) == [(0, 500), (33, 500), (66, 500), (99, 500)]
    assert taken([9_000]) == [(0, 1_800)]
    assert taken([9_000], whole=True) == [(0, 9_000)]
    assert sum(n for _, n in taken([3_000] * 3)) <= 2_000


@pytest.mark.parametrize("model", [RidgeOnEmbedding, ReducedRankRidge, NearestNeighbours])
def test_settings_chosen_on_a_part_of_the_spots_predict_about_as_well(model, study, monkeypatch):
    held_out = study.pop("s3")

    def score():
        predicted = model().fit(study, use_rep="X_image").predict(held_out)
        values = predicted.layers[f"predicted_{model.method}"]
        return gene_correlations(predicted.layers["measured_log1p_cp10k"], values).mean()

    whole = score()
    monkeypatch.setattr(_inner_validation, "MAX_JUDGED", 40)
    monkeypatch.setattr(_inner_validation, "_LEAST_SPOTS", 40)
    assert abs(score() - whole) < 0.1
