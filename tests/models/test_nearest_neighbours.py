import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.spatial.distance import pdist
from sklearn.neighbors import KNeighborsRegressor

from histoquilt.datasets import paired_study
from histoquilt.models import NearestNeighbours, NearestNeighboursConfig
from histoquilt.models._ridge_path import RidgePath
from histoquilt.models.expression._inner_validation import gene_correlations

PLAIN = replace(NearestNeighboursConfig.plain(), k=(7,), metric="euclidean", standardised=False, weighting="uniform")


def test_agrees_with_scikit_learn(study):
    held_out = study.pop("s3")
    predicted = NearestNeighbours(PLAIN).fit(study, use_rep="X_image").predict(held_out).layers["predicted_knn"]
    counts = np.concatenate([adata.X.toarray() for adata in study.values()])
    y = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    inputs = np.concatenate([adata.obsm["X_image"] for adata in study.values()])
    expected = KNeighborsRegressor(7).fit(inputs, y).predict(held_out.obsm["X_image"])
    np.testing.assert_allclose(predicted, expected, atol=1e-4)


def test_it_learns_what_the_image_shows_and_chooses_among_all_it_was_offered(study):
    for adata in study.values():
        adata.obsm["X_wide"] = 5 * adata.obsm["X_wide"]
    held_out = study.pop("s3")
    model = NearestNeighbours(NearestNeighboursConfig.cosine()).fit(study, use_rep=["X_image", "X_wide"])
    chosen = model.training_facts["chosen"]
    assert chosen["k"] in (5, 10, 20, 50)
    assert chosen["fields"] == "one"  # the second embedding is noise
    predicted = model.predict(held_out)
    found = gene_correlations(predicted.layers["measured_log1p_cp10k"], predicted.layers["predicted_knn"])
    assert found[:6].mean() > 0.5


def test_the_learned_metric_is_the_distance_between_reduced_rank_predictions():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 12)), rng.normal(size=(50, 30))
    path = RidgePath.fit(x, y)
    points = x @ path.leading_directions(0.01, 4)
    _, (_, rank, predicted) = path.predictions(x, (0.01,), (4,))
    assert rank == 4
    np.testing.assert_allclose(pdist(points), pdist(predicted), rtol=1e-6)


def test_a_learned_metric_finds_the_directions_that_expression_follows():
    study = paired_study(kind="pairing", seed=0)
    held_out = study.pop("s3")
    correlation = {}
    for name, config in (("learned", NearestNeighboursConfig()), ("cosine", NearestNeighboursConfig.cosine())):
        predicted = NearestNeighbours(config).fit(study, use_rep="X_image").predict(held_out)
        truth = predicted.layers["measured_log1p_cp10k"]
        correlation[name] = gene_correlations(truth, predicted.layers["predicted_knn"]).mean()
    assert correlation["cosine"] < 0.2
    assert correlation["learned"] > 0.55


def test_spots_without_counts_are_no_references(study):
    held_out = study.pop("s3")
    for adata in study.values():
        blank = np.arange(20)
        counts = adata.X.toarray()
        counts[blank] = 0
        adata.X = csr_matrix(counts)
        adata.obsm["X_image"] = adata.obsm["X_image"].copy()
        adata.obsm["X_image"][blank] = held_out.obsm["X_image"][:1]  # all of them look like one spot
    for config in (NearestNeighboursConfig(k=(5,)), NearestNeighboursConfig.plain()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # spots have no counts
            model = NearestNeighbours(config).fit(study, use_rep="X_image")
        assert len(model.learnt.bank.expression) == sum(adata.n_obs - 20 for adata in study.values())
        assert np.isfinite(model.predict(held_out).layers["predicted_knn"]).all()
        assert np.isfinite(model.fitted.reliability.correlation).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"k": ()}, "k must be"),
        ({"k": (0,)}, "k must be"),
        ({"metric": "l1"}, "metric must be"),
        ({"fields": "one"}, "needs fields='several'"),
        ({"alphas": (0.0,)}, "alphas must be"),
        ({"n_directions": (0,)}, "n_directions must be"),
        ({"standardised": 3}, "standardised must be"),
        ({"weighting": "rank"}, "weighting must be"),
    ],
)
def test_settings_are_checked(settings, words):
    with pytest.raises(ValueError, match=words):
        NearestNeighboursConfig(**settings)
