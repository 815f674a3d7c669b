import dataclasses

import numpy as np
import pytest

from histoweave.pp import GeneFeatures


def test_pcs_are_those_of_the_exact_decomposition(source):
    counts = source(150, 80)
    fitted, features = GeneFeatures.fit(counts, n_pcs=5)
    assert features.shape == (150, 5)
    assert features.dtype == np.float32
    logs = counts.normalised()[:, [counts.genes.index(gene) for gene in fitted.genes]].toarray()
    z = np.clip((logs - logs.mean(axis=0)) / logs.std(axis=0), -10, 10)
    _, singular, axes = np.linalg.svd(z, full_matrices=False)
    # the leading one stands out; of the noise behind it the total is what counts
    assert abs(fitted.components[0] @ axes[0]) == pytest.approx(1, abs=1e-3)
    assert (features**2).sum() == pytest.approx((singular[:5] ** 2).sum(), rel=0.01)
    np.testing.assert_allclose(fitted.components @ fitted.components.T, np.eye(5), atol=1e-5)


def test_pcs_come_in_order_with_a_fixed_sign(source):
    fitted, features = GeneFeatures.fit(source(), n_pcs=10)
    assert (np.diff(features.std(axis=0)) <= 1e-4).all()
    again, same = GeneFeatures.fit(source(), n_pcs=10)
    np.testing.assert_array_equal(features, same)
    np.testing.assert_array_equal(fitted.components, again.components)
    _, other_seed = GeneFeatures.fit(source(), n_pcs=10, seed=1)
    assert np.corrcoef(features[:, 0], other_seed[:, 0])[0, 1] > 0.999


def test_transform_of_the_training_section_is_what_fit_returned(source):
    for kind in ("pca", "hvg"):
        fitted, features = GeneFeatures.fit(source(), kind=kind, n_pcs=7)
        np.testing.assert_allclose(fitted.transform(source()), features, atol=1e-4)


@pytest.mark.parametrize("normalisation", [{}, {"target_sum": 1e6, "log": False}, {"target_sum": 1e6}, {"log": False}])
@pytest.mark.parametrize("kind", ["pca", "hvg"])
def test_all_pcs_bring_the_genes_back(source, kind, normalisation):
    """inverse(transform) is log1p CP10K whatever the normalisation in between, where nothing was cut away."""
    counts = source(150, 60)
    fitted, features = GeneFeatures.fit(counts, kind=kind, n_pcs=500, clip=np.inf, **normalisation)
    assert features.shape == (150, 60)
    back = fitted.inverse(features)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, counts.normalised().toarray(), atol=2e-3)


def test_more_genes_than_spots_come_back_too(source):
    counts = source(30, 100)
    fitted, features = GeneFeatures.fit(counts, n_pcs=500, clip=np.inf, min_spots=1, min_counts=0)
    assert features.shape == (30, 29)  # centring takes one
    columns = [counts.genes.index(gene) for gene in fitted.genes]
    np.testing.assert_allclose(fitted.inverse(features), counts.normalised()[:, columns].toarray(), atol=2e-3)


def test_unlogged_scale_by_hand(source):
    counts = source()
    fitted, features = GeneFeatures.fit(counts, kind="hvg", target_sum=1e6, log=False)
    raw = counts.matrix.toarray()
    np.testing.assert_allclose(features, 1e6 * raw / raw.sum(axis=1, keepdims=True), rtol=1e-5)
    expected = np.log1p(1e4 * raw[:, 3] / raw.sum(axis=1))
    np.testing.assert_allclose(fitted.inverse(features, ["g3"])[:, 0], expected, rtol=1e-5)


def test_denoised_expression_is_never_negative(source):
    fitted, features = GeneFeatures.fit(source(), n_pcs=5)
    assert (fitted.inverse(10 * features) >= 0).all()


def test_genes_asked_for_come_in_that_order(source):
    fitted, features = GeneFeatures.fit(source(), n_pcs=5)
    everything = fitted.inverse(features)
    some = fitted.inverse(features, ["g7", "g2"])
    np.testing.assert_allclose(
        some, everything[:, [fitted.genes.index("g7"), fitted.genes.index("g2")]], rtol=1e-5, atol=1e-5
    )
    assert fitted.inverse(features, []).shape == (120, 0)


def test_gene_that_was_not_modelled(source):
    fitted, features = GeneFeatures.fit(source(), n_pcs=5)
    with pytest.raises(KeyError, match=r"Not among the 60 modelled genes: 'CD4'.*raise n_genes"):
        fitted.inverse(features, ["g1", "CD4"])


def test_another_section(source):
    fitted, _ = GeneFeatures.fit(source(seed=0), n_pcs=5)
    other = source(90, seed=1)
    order = np.random.default_rng(0).permutation(60)
    mixed = dataclasses.replace(other, matrix=other.matrix[:, order], genes=[other.genes[i] for i in order])
    np.testing.assert_allclose(fitted.transform(mixed), fitted.transform(other), atol=1e-4)  # genes go by name
    fewer = dataclasses.replace(other, matrix=other.matrix[:, 5:], genes=other.genes[5:])
    with pytest.raises(ValueError, match="knows 60 genes; this section lacks 5 of them, first: 'g0'"):
        fitted.transform(fewer)


def test_declared_log_needs_no_normalisation(source):
    counts = source()
    logged = dataclasses.replace(counts, matrix=counts.normalised(), scale="log1p_cp10k")
    fitted, features = GeneFeatures.fit(logged, n_pcs=5, target_sum=1e6, log=False)
    assert (fitted.target_sum, fitted.log) == (1e4, True)
    _, expected = GeneFeatures.fit(counts, n_pcs=5)
    np.testing.assert_allclose(features, expected, atol=1e-3)
    np.testing.assert_allclose(fitted.transform(counts), features, atol=1e-3)  # and counts are brought to it
    unlogged, _ = GeneFeatures.fit(counts, n_pcs=5, log=False)
    with pytest.raises(ValueError, match="cannot be brought to another normalisation"):
        unlogged.transform(logged)


def test_a_gene_that_never_changes_is_no_feature(source):
    counts = source()
    logs = counts.normalised().tolil()
    logs[:, 11] = 2.0
    logged = dataclasses.replace(counts, matrix=logs.tocsr(), scale="log1p_cp10k")
    fitted, features = GeneFeatures.fit(logged, n_pcs=5)
    assert np.isfinite(features).all()
    assert np.abs(fitted.components[:, 11]).max() < 1e-3
    np.testing.assert_allclose(fitted.inverse(features, ["g11"]), 2.0, atol=1e-3)


def test_z_scores_are_cut(source):
    counts = source()
    matrix = counts.matrix.tolil()
    matrix[0, 3] = 5000
    counts = dataclasses.replace(counts, matrix=matrix.tocsr())
    fitted, _ = GeneFeatures.fit(counts, n_pcs=500, clip=4.0, log=False)
    z = fitted.transform(counts) @ fitted.components  # all PCs: back to z-scores
    assert z.max() == pytest.approx(4.0, abs=1e-2)


@pytest.mark.parametrize("n_spots", [3, 20])
def test_few_spots(source, n_spots):
    fitted, features = GeneFeatures.fit(source(n_spots), min_spots=1, min_counts=0)
    assert features.shape == (n_spots, n_spots - 1)
    assert np.isfinite(fitted.inverse(features)).all()
