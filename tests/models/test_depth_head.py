"""The depth head, and what every model writes with it: relative log rates and predicted counts of spots."""

import logging
from dataclasses import replace

import numpy as np
import pytest

import histoquilt as hq
from histoquilt.draw import raw_expression
from histoquilt.models import (
    CountRegression,
    MclSTExp,
    MclSTExpConfig,
    MeanExpression,
    NearestNeighbours,
    ReducedRankRidge,
    RidgeOnEmbedding,
    SpaHGC,
    SpaHGCConfig,
    load,
)
from histoquilt.models.expression import _depth_head
from histoquilt.models.expression._depth_head import DepthHead, fit_depth_head
from histoquilt.models.expression._inner_validation import inner_folds
from histoquilt.models.expression._inputs import ImageSection
from histoquilt.train import strip_prefix

MODELS = [
    MeanExpression(),
    RidgeOnEmbedding(),
    ReducedRankRidge(),
    CountRegression(),
    NearestNeighbours(),
    SpaHGC(SpaHGCConfig(max_epochs=2, n_hidden=16)),
    MclSTExp(MclSTExpConfig(max_epochs=2)),
]


def make_sections(n=4, n_spots=150, seed=0):
    rng = np.random.default_rng(seed)
    slope = rng.normal(size=8)
    sections = []
    for number in range(n):
        x = rng.normal(size=(n_spots, 8)).astype(np.float32)
        depth = np.exp(6 + number + 0.2 * x @ slope + rng.normal(0, 0.2, n_spots))
        sections.append(ImageSection(f"s{number}", f"s{number}", (x,), x, x[:, :2], None, None, depth))
    return sections


def folds_of(sections):
    return inner_folds([one.group for one in sections])


def test_it_predicts_depth_within_a_section_and_the_mean_level():
    *train, test = make_sections(5)
    head, held_out = fit_depth_head(train, folds_of(train))
    predicted = head.predict(test.x)
    assert np.corrcoef(predicted, np.log(test.depth))[0, 1] > 0.85
    assert predicted.mean() == pytest.approx(7.5, abs=0.15)  # of levels 6, 7, 8, 9
    for one, values in zip(train, held_out, strict=True):
        assert np.corrcoef(values, np.log(one.depth))[0, 1] > 0.85


def test_what_is_predicted_in_training_has_not_seen_the_section(monkeypatch):
    monkeypatch.setattr(_depth_head, "_ALPHAS", (0.1,))
    train = make_sections()
    _, before = fit_depth_head(train, folds_of(train))
    planted = [*train[:3], replace(train[3], depth=train[3].depth[::-1])]
    _, after = fit_depth_head(planted, folds_of(train))
    np.testing.assert_allclose(before[3], after[3])
    assert not np.allclose(before[0], after[0])


def test_sections_without_depth_and_spots_without_counts_are_left_out():
    train = make_sections()
    shallow = train[1].depth.copy()
    shallow[:20] = 0
    train = [replace(train[0], depth=None), replace(train[1], depth=shallow), *train[2:]]
    head, held_out = fit_depth_head(train, folds_of(train))
    assert np.isfinite(head.predict(train[0].x)).all()
    assert all(len(values) == 150 and np.isfinite(values).all() for values in held_out)
    alone = [replace(one, depth=None) for one in train[:3]] + [train[3]]
    head, held_out = fit_depth_head(alone, folds_of(alone))
    assert np.corrcoef(head.predict(train[2].x), np.log(train[2].depth))[0, 1] > 0.8
    assert np.ptp(held_out[3]) == 0  # no other section knows its depth
    assert fit_depth_head(alone[:3], folds_of(alone[:3])) is None


def test_arrays_come_back():
    train = make_sections()
    head, _ = fit_depth_head(train, folds_of(train))
    stored = {f"depth_head.{name}": value for name, value in head.arrays().items()}
    restored = DepthHead.restore(strip_prefix(stored, "depth_head"))
    np.testing.assert_array_equal(restored.predict(train[0].x), head.predict(train[0].x))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_every_model_writes_relative_rates_and_log_counts(model, study, tmp_path):
    held_out = study.pop("s3")
    fitted = model.fit(study, use_rep="X_image")
    predicted = fitted.predict(held_out)
    relative, log_counts = predicted.layers[f"relative_{model.method}"], predicted.obs["predicted_log_counts"]
    assert relative.dtype == np.float32
    assert np.isfinite(relative).all()
    np.testing.assert_allclose(relative.mean(axis=0), 0, atol=1e-5)
    assert predicted.uns["histoquilt"]["scale"][f"relative_{model.method}"] == "log_relative"
    assert np.corrcoef(log_counts, np.log(held_out.X.sum(axis=1).A1))[0, 1] > 0.6
    fitted.save(tmp_path / "model")
    again = load(tmp_path / "model").predict(held_out)
    np.testing.assert_array_equal(again.layers[f"relative_{model.method}"], relative)
    np.testing.assert_array_equal(again.obs["predicted_log_counts"], log_counts)


def test_relative_rates_are_refused_as_expression(study):
    held_out = study.pop("s3")
    predicted = ReducedRankRidge().fit(study, use_rep="X_image").predict(held_out)
    message = r"relative_reduced_rank_ridge is declared log_relative.*such as 'predicted_reduced_rank_ridge'"
    with pytest.raises(ValueError, match=message):
        hq.pp.expression(predicted, layer="relative_reduced_rank_ridge")
    with pytest.raises(ValueError, match=message):
        raw_expression(predicted, [0, 1], layer="relative_reduced_rank_ridge")


def normalised(adata):
    counts = adata.X.toarray()
    adata.X = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    adata.uns["histoquilt"]["scale"] = {"X": "log1p_cp10k"}


def test_without_raw_counts_a_model_says_what_is_missing(study, caplog):
    held_out = study.pop("s3")
    normalised(study["s0"])
    assert "relative_ridge" in RidgeOnEmbedding().fit(study, use_rep="X_image").predict(held_out).layers
    for name in ("s1", "s2"):
        normalised(study[name])
    with caplog.at_level(logging.INFO, logger="histoquilt"):
        predicted = RidgeOnEmbedding().fit(study, use_rep="X_image").predict(held_out)
    assert "No training section has raw counts" in caplog.text
    assert set(predicted.layers) == {"predicted_ridge", "measured_log1p_cp10k"}
    assert "predicted_log_counts" not in predicted.obs
