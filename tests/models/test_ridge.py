from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from histoquilt.models import RidgeConfig, RidgeOnEmbedding
from histoquilt.models.expression._inner_validation import gene_correlations

PLAIN = RidgeConfig.plain()


@pytest.mark.parametrize("width", [6, 300], ids=["primal", "dual"])
def test_agrees_with_scikit_learn(study, width):
    rng = np.random.default_rng(0)
    for adata in study.values():
        adata.obsm["X_image"] = adata.obsm["X_image"] @ rng.normal(size=(6, width)).astype(np.float32)
        adata.obsm["X_image"] += rng.normal(size=adata.obsm["X_image"].shape).astype(np.float32)
    held_out = study.pop("s3")
    model = RidgeOnEmbedding(replace(PLAIN, alphas=(0.1,))).fit(study, use_rep="X_image")
    inputs = np.concatenate([adata.obsm["X_image"] for adata in study.values()]).astype(float)
    mean, sd = inputs.mean(axis=0), inputs.std(axis=0)
    counts = np.concatenate([adata.X.toarray() for adata in study.values()])
    y = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    reference = Ridge(alpha=0.1 * width).fit((inputs - mean) / sd, y)  # a standardised row has squared length `width`
    expected = np.maximum(reference.predict((held_out.obsm["X_image"] - mean) / sd), 0)
    np.testing.assert_allclose(model.predict(held_out).layers["predicted_ridge"], expected, atol=2e-3)


def test_it_learns_what_the_image_shows(study):
    held_out = study.pop("s3")
    predicted = RidgeOnEmbedding().fit(study, use_rep="X_image").predict(held_out)
    found = gene_correlations(predicted.layers["measured_log1p_cp10k"], predicted.layers["predicted_ridge"])
    assert found[:6].mean() > 0.6
    assert predicted.var["reliability"].iloc[:6].mean() > 0.6
    assert predicted.var["beats_mean"].iloc[:6].all()
    assert (predicted.var["n_folds"] == 3).all()


def test_inner_validation_finds_the_inputs_that_help(study):
    """Expression is made to depend on the second embedding only, seen by the neighbours too."""
    for adata in study.values():
        adata.obsm["X_other"] = adata.obsm["X_image"]
    model = RidgeOnEmbedding().fit(study, use_rep=["X_wide", "X_other"])
    assert model.training_facts["chosen"]["fields"] == "several"
    assert model.training_facts["chosen"]["neighbours"] is False
    assert model.training_facts["chosen"]["smoothing"] == 0


def test_smoothing_is_chosen_where_tissue_is_smooth(study):
    rng = np.random.default_rng(0)
    for adata in study.values():
        wave = np.sin(adata.obsm["spatial"][:, :1] / 500 + rng.uniform(0, 6))
        rate = 10 * np.exp(wave * np.linspace(-1, 1, adata.n_vars))
        adata.X = rng.poisson(rate).astype(np.float32)
        adata.obsm["X_image"] = (wave + rng.normal(0, 3, wave.shape)).astype(np.float32)
    model = RidgeOnEmbedding(RidgeConfig(neighbours=False)).fit(study, use_rep="X_image")
    assert model.training_facts["chosen"]["smoothing"] > 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"alphas": ()}, "alphas must be one or more positive"),
        ({"alphas": (0.0,)}, "alphas must be one or more positive"),
        ({"smoothing": -1}, "smoothing must be a whole number"),
        ({"smoothing": "yes"}, "smoothing must be a whole number"),
        ({"fields": "both"}, "fields must be"),
        ({"neighbours": "some"}, "neighbours must be"),
        ({"n_genes": 0}, "n_genes must be"),
    ],
)
def test_settings_are_checked(settings, words):
    with pytest.raises(ValueError, match=words):
        RidgeConfig(**settings)


def test_settings_survive_json_and_unknown_ones_are_named():
    assert RidgeConfig.from_dict({**PLAIN.to_dict(), "alphas": list(PLAIN.alphas)}) == PLAIN
    with pytest.raises(ValueError, match=r"RidgeConfig has no 'alpha'. Known settings: n_genes"):
        RidgeConfig.from_dict({"alpha": 1})
