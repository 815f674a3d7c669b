"""RBF kernel map of the components, and reduced-rank ridge regression on it."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.metrics.pairwise import rbf_kernel

from histoquilt.datasets import paired_study
from histoquilt.models import CountRegression, CountRegressionConfig, ReducedRankRidge, ReducedRankRidgeConfig, load
from histoquilt.models._kernel_map import KernelMap
from histoquilt.models.expression._inner_validation import inner_folds
from histoquilt.models.expression._inputs import ImageSection
from histoquilt.models.linear._reduced_rank import fit_reduced_rank


def test_products_of_features_are_the_centred_kernel_where_every_spot_is_a_landmark():
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    features = KernelMap.fit(x, 100).features(x)
    assert features.shape == (60, 60)
    kernel = rbf_kernel(x, gamma=1 / (2 * np.median(pdist(x)) ** 2))
    centre = np.eye(60) - 1 / 60
    expected = centre @ kernel @ centre
    products = features @ features.T
    np.testing.assert_allclose(products / np.trace(products), expected / np.trace(expected), atol=1e-4)
    assert features.var(axis=0).sum() == pytest.approx(x.var(axis=0).sum(), rel=1e-3)


def test_it_is_seeded_and_comes_back():
    x = np.random.default_rng(0).normal(size=(300, 5))
    first, again = (KernelMap.fit(x, 20) for _ in range(2))
    np.testing.assert_array_equal(first.features(x), again.features(x))
    np.testing.assert_array_equal(KernelMap.restore(first.arrays()).features(x), first.features(x))
    assert np.isfinite(KernelMap.fit(np.zeros((10, 2)), 4).features(np.zeros((3, 2)))).all()


def curved(name: str, seed: int, n_spots: int = 120) -> ImageSection:
    """Genes that follow the distance of the embedding from its centre, which no linear model can."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_spots, 4)).astype(np.float32)
    y = np.abs(x[:, :2]) @ rng.uniform(1, 2, (2, 6)) + 0.1 * rng.normal(size=(n_spots, 6))
    return ImageSection(name, name, (x,), x, rng.uniform(0, 9, (n_spots, 2)), None, y.astype(np.float32))


def test_it_helps_where_expression_is_no_linear_function_of_the_embedding():
    train = [curved(name, seed) for seed, name in enumerate("abc")]
    folds = inner_folds(["a", "b", "c"])
    plain, mapped = (fit_reduced_rank(train, folds, ReducedRankRidgeConfig(rbf=rbf)).score for rbf in (0, 60))
    assert plain < 0.2
    assert mapped > 0.8


@pytest.mark.parametrize(
    "make", [lambda rbf: ReducedRankRidge(ReducedRankRidgeConfig(rbf=rbf)),
             lambda rbf: CountRegression(CountRegressionConfig(rbf=rbf, n_components=10, ranks=(2,)))],
    ids=["reduced_rank_ridge", "count_regression"],
)  # fmt: skip
def test_a_model_with_a_kernel_map_survives_the_checkpoint(make, tmp_path):
    study = paired_study(n_sections=3, n_spots=60, n_genes=20, seed=0)
    held_out = study.pop("s3")
    plain, model = (make(rbf).fit(study, use_rep="X_image") for rbf in (0, 30))
    model.save(tmp_path / "model")
    key = f"predicted_{model.method}"
    values, back, without = (one.predict(held_out).layers[key] for one in (model, load(tmp_path / "model"), plain))
    np.testing.assert_array_equal(values, back)
    assert np.abs(values - without).max() > 1e-3


def test_dividing_the_components_divides_the_features():
    x = np.random.default_rng(0).normal(size=(80, 5))
    fitted = KernelMap.fit(x, 20)
    np.testing.assert_allclose(fitted.divided(4.0).features(x / 4), fitted.features(x) / 4, atol=1e-5)


@pytest.mark.parametrize("config", [ReducedRankRidgeConfig, CountRegressionConfig])
@pytest.mark.parametrize("rbf", [-1, 2.5, True])
def test_the_number_of_features_is_checked(config, rbf):
    with pytest.raises(ValueError, match="rbf must be a whole number"):
        config(rbf=rbf)
