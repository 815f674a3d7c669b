"""Studies that are not as training would like them: depth zero, one section per patient, one individual."""

import numpy as np
import pytest

from histoquilt.models import (
    CountRegression,
    NearestNeighbours,
    PredictedDepth,
    ReducedRankRidge,
    RidgeOnEmbedding,
    Stack,
)

MODELS = [ReducedRankRidge, CountRegression, NearestNeighbours, RidgeOnEmbedding, PredictedDepth, Stack]


@pytest.mark.parametrize("model", MODELS)
def test_spots_of_zero_depth_are_trained_with_and_predicted(model, study):
    held_out = study.pop("s3")
    for adata in (*study.values(), held_out):
        counts = adata.X.tolil()
        counts[:5] = 0
        adata.X = counts.tocsr()
    predicted = model().fit(study, use_rep="X_image").predict(held_out)
    for layer in (f"predicted_{model.method}", f"relative_{model.method}"):
        assert np.isfinite(predicted.layers[layer]).all()
    assert np.isfinite(predicted.obs["predicted_log_counts"]).all()
    assert np.isfinite(predicted.var["reliability"]).all()


@pytest.mark.parametrize("model", MODELS)
def test_one_section_per_patient(model, study):
    for name, adata in study.items():
        adata.obs["patient"] = f"patient of {name}"
    held_out = study.pop("s3")
    trained = model().fit(study, use_rep="X_image")
    assert [one["group"] for one in trained.training_facts["sections"]] == [f"patient of {name}" for name in study]
    assert trained.training_facts["moments"]["n_individuals"] == 3
    assert (trained.predict(held_out).var["n_folds"] == 3).all()


@pytest.mark.parametrize("model", MODELS)
def test_a_single_individual_is_validated_by_section_and_standardised_by_its_own_moments(model, study):
    for adata in study.values():
        adata.obs["patient"] = "A"
    held_out = study.pop("s3")
    trained = model().fit(study, use_rep="X_image")
    facts = trained.training_facts
    assert [one["group"] for one in facts["sections"]] == list(study)
    assert facts["moments"]["own"]
    assert facts["moments"]["n_individuals"] == 1
    assert np.isfinite(trained.predict(held_out).layers[f"predicted_{model.method}"]).all()
