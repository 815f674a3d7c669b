"""Sections are standardised by their own moments where training holds fewer than three individuals."""

import numpy as np
import pytest

from histoquilt.models import (
    MclSTExpConfig,
    NearestNeighbours,
    NearestNeighboursConfig,
    ReducedRankRidge,
    ReducedRankRidgeConfig,
    RidgeConfig,
    RidgeOnEmbedding,
    SpaHGC,
    SpaHGCConfig,
)
from histoquilt.models.expression._inputs import ExpressionInputs, fit_inputs
from histoquilt.study import Study

QUICK = SpaHGCConfig(max_epochs=2, check_every=2, n_hidden=16, n_inputs=8)


def with_patients(study, patients):
    for adata, patient in zip(study.values(), patients, strict=False):
        if patient is None:
            adata.obs.drop(columns="patient", errors="ignore", inplace=True)
        else:
            adata.obs["patient"] = patient
    return study


@pytest.mark.parametrize(
    ("patients", "n"), [("AAA", 1), ("AAB", 2), ("ABC", 3), ([None] * 3, 1), (["A", "B", None], 1)]
)
def test_individuals_are_patients_and_one_if_they_are_not_known(study, patients, n):
    del study["s3"]
    assert Study.of(with_patients(study, patients)).n_patients() == n


@pytest.mark.parametrize("patients", ["AA", "AB", [None, None]], ids=["one", "two", "unknown"])
@pytest.mark.parametrize("model", [RidgeOnEmbedding(), ReducedRankRidge(), NearestNeighbours(), SpaHGC(QUICK)])
def test_below_three_individuals_a_shift_of_a_section_changes_little(study, model, patients):
    held_out = study.pop("s3")
    del study["s2"]
    model.fit(with_patients(study, patients), use_rep="X_image")
    moments = model.training_facts["moments"]
    assert moments["own"]
    assert moments["n_individuals"] == (2 if patients == "AB" else 1)
    assert "too few to choose" in moments["why"]
    shifted = held_out.copy()
    rng = np.random.default_rng(0)
    shifted.obsm["X_image"] = held_out.obsm["X_image"] + 0.5 * rng.normal(size=held_out.obsm["X_image"].shape[1])
    key = f"predicted_{model.method}"
    before, after = (model.predict(one).layers[key] for one in (held_out, shifted))
    assert np.corrcoef((before - before.mean(0)).ravel(), (after - after.mean(0)).ravel())[0, 1] > 0.9


def test_with_three_individuals_inner_validation_chooses(study):
    held_out = study.pop("s3")
    model = ReducedRankRidge().fit(with_patients(study, "ABC"), use_rep="X_image")
    averaged = {one["own_moments"] for one in model.training_facts["chosen"]["averaged"]}
    assert model.training_facts["moments"] == {
        "own": "both" if len(averaged) == 2 else averaged.pop(), "n_individuals": 3,
        "why": "chosen on inner validation where the method tries both",
    }  # fmt: skip
    assert len(model.fitted.inputs.reps) == 1
    assert model.predict(held_out).n_obs == held_out.n_obs


@pytest.mark.parametrize("own", [True, False])
def test_settings_come_before_the_number_of_individuals(study, own):
    model = ReducedRankRidge(ReducedRankRidgeConfig(own_moments=own)).fit(study, use_rep="X_image")
    assert model.training_facts["moments"]["own"] is own
    assert {one["own_moments"] for one in model.training_facts["chosen"]["averaged"]} == {own}


def test_published_and_plain_settings_use_training_moments():
    published = (MclSTExpConfig.published("embedding"), SpaHGCConfig.published(), RidgeConfig.plain())
    assert not any(one.own_moments for one in (*published, NearestNeighboursConfig.plain()))
    with pytest.raises(ValueError, match="own_moments must be true, false or 'auto', got 'own'"):
        RidgeConfig(own_moments="own")


def test_blocks_of_encoders_have_equal_variance_by_either_moments(study):
    rng = np.random.default_rng(0)
    narrow, wide = (rng.normal(3, 2, (200, n)).astype(np.float32) for n in (4, 60))
    records = ({"digest": "a"}, {"digest": "b"}, {"digest": "b"})
    reps = (narrow, wide, 2 * wide)
    near = [None]
    for own in (False, True):
        inputs, [x] = fit_inputs(("n", "w", "v"), records, [reps], near, neighbours=False, own=own)
        variance = x.var(axis=0)
        assert variance[:4].sum() == pytest.approx(variance[4:].sum(), rel=0.02)
        assert variance.sum() == pytest.approx(124, rel=0.1)
        np.testing.assert_allclose(inputs.standardise(reps, None), x)
    alone = ExpressionInputs(("w",), ({"digest": "b"},), (60,), False, False, np.zeros(60), np.ones(60))
    assert alone.block_scale is None
