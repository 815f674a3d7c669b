import dataclasses

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from histoquilt.pp import Expression, GeneFeatures


def inverse(
    fitted: GeneFeatures, source: Expression, genes: list[str] | None = None, sections: np.ndarray | None = None
) -> np.ndarray:
    """There and back."""
    return fitted.inverse(*fitted.transform(source, sections), genes)


def test_pcs_are_those_of_the_exact_decomposition(source):
    counts = source(150, 80)
    fitted, features, _ = GeneFeatures.fit(counts, n_pcs=5)
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
    fitted, features, _ = GeneFeatures.fit(source(), n_pcs=10)
    assert (np.diff(features.std(axis=0)) <= 1e-4).all()
    again, same, _ = GeneFeatures.fit(source(), n_pcs=10)
    np.testing.assert_array_equal(features, same)
    np.testing.assert_array_equal(fitted.components, again.components)
    _, other_seed, _ = GeneFeatures.fit(source(), n_pcs=10, seed=1)
    assert np.corrcoef(features[:, 0], other_seed[:, 0])[0, 1] > 0.999


def test_transform_of_the_training_section_is_what_fit_returned(source):
    for kind in ("pca", "hvg"):
        fitted, features, _ = GeneFeatures.fit(source(), kind=kind, n_pcs=7)
        np.testing.assert_allclose(fitted.transform(source())[0], features, atol=1e-4)


@pytest.mark.parametrize("normalisation", [{}, {"target_sum": 1e6, "log": False}, {"target_sum": 1e6}, {"log": False}])
@pytest.mark.parametrize("kind", ["pca", "hvg"])
def test_all_pcs_bring_the_genes_back(source, kind, normalisation):
    """inverse(transform) is log1p CP10K whatever the normalisation in between, where nothing was cut away."""
    counts = source(150, 60)
    fitted, features, _ = GeneFeatures.fit(counts, kind=kind, n_pcs=500, clip=np.inf, **normalisation)
    assert features.shape in [(150, 60), (150, 59)]  # counts per spot leave a component without spread
    back = inverse(fitted, counts)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, counts.normalised().toarray(), atol=2e-3)


def test_more_genes_than_spots_come_back_too(source):
    counts = source(30, 100)
    fitted, features, _ = GeneFeatures.fit(counts, n_pcs=500, clip=np.inf, min_spots=1, min_counts=0)
    assert features.shape == (30, 29)  # centring takes one
    columns = [counts.genes.index(gene) for gene in fitted.genes]
    np.testing.assert_allclose(inverse(fitted, counts), counts.normalised()[:, columns].toarray(), atol=2e-3)


def test_unlogged_scale_by_hand(source):
    counts = source()
    fitted, features, _ = GeneFeatures.fit(counts, kind="hvg", target_sum=1e6, log=False)
    raw = counts.matrix.toarray()
    np.testing.assert_allclose(features, 1e6 * raw / raw.sum(axis=1, keepdims=True), rtol=1e-5)
    expected = np.log1p(1e4 * raw[:, 3] / raw.sum(axis=1))
    np.testing.assert_allclose(inverse(fitted, counts, ["g3"])[:, 0], expected, rtol=1e-5)


def test_denoised_expression_is_never_negative(source):
    fitted, *_ = GeneFeatures.fit(source(), n_pcs=5)
    features, scaling = fitted.transform(source())
    assert (fitted.inverse(10 * features, scaling) >= 0).all()


def test_genes_asked_for_come_in_that_order(source):
    fitted, *_ = GeneFeatures.fit(source(), n_pcs=5)
    everything = inverse(fitted, source())
    some = inverse(fitted, source(), ["g7", "g2"])
    np.testing.assert_allclose(
        some, everything[:, [fitted.genes.index("g7"), fitted.genes.index("g2")]], rtol=1e-5, atol=1e-5
    )
    assert inverse(fitted, source(), []).shape == (120, 0)


def test_gene_that_was_not_modelled(source):
    fitted, *_ = GeneFeatures.fit(source(), n_pcs=5)
    with pytest.raises(KeyError, match=r"Not among the 60 modelled genes: 'CD4'.*raise n_genes"):
        inverse(fitted, source(), ["g1", "CD4"])


def test_genes_of_another_section_go_by_name(source):
    fitted, *_ = GeneFeatures.fit(source(seed=0), n_pcs=5)
    other = source(90, seed=1)
    order = np.random.default_rng(0).permutation(60)
    mixed = dataclasses.replace(other, matrix=other.matrix[:, order], genes=[other.genes[i] for i in order])
    np.testing.assert_allclose(fitted.transform(mixed)[0], fitted.transform(other)[0], atol=1e-4)


def test_declared_log_needs_no_normalisation(source):
    counts = source()
    logged = dataclasses.replace(counts, matrix=counts.normalised(), scale="log1p_cp10k")
    fitted, features, _ = GeneFeatures.fit(logged, n_pcs=5, target_sum=1e6, log=False)
    assert (fitted.target_sum, fitted.log) == (1e4, True)
    _, expected, _ = GeneFeatures.fit(counts, n_pcs=5)
    np.testing.assert_allclose(features, expected, atol=1e-3)
    np.testing.assert_allclose(fitted.transform(counts)[0], features, atol=1e-3)  # and counts are brought to it
    unlogged, *_ = GeneFeatures.fit(counts, n_pcs=5, log=False)
    with pytest.raises(ValueError, match="cannot be brought to another normalisation"):
        unlogged.transform(logged)


@pytest.mark.parametrize("level", [2.0, 0.1])  # sums of tenths are rounded
def test_a_gene_that_never_changes_is_no_feature(source, level):
    counts = source(2000)
    logs = counts.normalised().tolil()
    logs[:, 11] = level
    logged = dataclasses.replace(counts, matrix=logs.tocsr(), scale="log1p_cp10k")
    fitted, features, _ = GeneFeatures.fit(logged, n_pcs=5)
    assert np.isfinite(features).all()
    assert np.abs(fitted.components[:, 11]).max() < 1e-3
    np.testing.assert_allclose(inverse(fitted, logged, ["g11"]), level, atol=1e-3)


def test_z_scores_are_cut(source):
    counts = source()
    matrix = counts.matrix.tolil()
    matrix[0, 3] = 5000
    counts = dataclasses.replace(counts, matrix=matrix.tocsr())
    fitted, *_ = GeneFeatures.fit(counts, n_pcs=500, clip=4.0, log=False)
    z = fitted.transform(counts)[0] @ fitted.components  # all PCs: back to z-scores
    assert z.max() == pytest.approx(4.0, abs=1e-2)


@pytest.mark.parametrize("n_spots", [3, 20])
def test_few_spots(source, n_spots):
    counts = source(n_spots)
    fitted, features, _ = GeneFeatures.fit(counts, min_spots=1, min_counts=0)
    assert features.shape == (n_spots, n_spots - 1)
    assert np.isfinite(inverse(fitted, counts)).all()


# genes that a section lacks


def without(source: Expression, genes: list[str]) -> Expression:
    kept = [column for column, gene in enumerate(source.genes) if gene not in genes]
    return dataclasses.replace(source, matrix=source.matrix[:, kept], genes=[source.genes[i] for i in kept])


@pytest.mark.parametrize("by_section", [False, True])
@pytest.mark.filterwarnings("ignore:The model knows")
def test_a_missing_gene_counts_as_average(source, by_section):
    """Its z-score is 0 in every spot, so the features are those of the other genes alone; it comes back at its mean."""
    sections = np.repeat(["a", "b"], 60) if by_section else None
    logged = dataclasses.replace(source(), matrix=source().normalised(), scale="log1p_cp10k")
    fitted, *_ = GeneFeatures.fit(logged, n_pcs=500, sections=sections)
    features, scaling = fitted.transform(without(logged, ["g4", "g30"]), sections)
    z, whole = features @ fitted.components, fitted.transform(logged, sections)[0] @ fitted.components
    gone = [fitted.genes.index("g4"), fitted.genes.index("g30")]
    np.testing.assert_allclose(z[:, gone], 0, atol=1e-4)
    np.testing.assert_allclose(np.delete(z, gone, axis=1), np.delete(whole, gone, axis=1), atol=1e-4)
    back = fitted.inverse(features, scaling, ["g4"])
    np.testing.assert_allclose(back, fitted.mean[gone[0]], atol=1e-3)
    assert scaling.std[:, gone[0]].tolist() == [fitted.std[gone[0]]] * len(scaling.std)  # what is predicted, spreads so


def test_missing_genes_are_told_and_half_is_too_many(source):
    fitted, *_ = GeneFeatures.fit(source(), n_pcs=5)
    names = source().genes
    assert fitted.missing_genes(names) == []
    with pytest.warns(UserWarning, match=r"knows 60 genes; this section has 55 .* lacks 5, first: 'g0'.*the average"):
        fitted.transform(without(source(), names[:5]))
    with pytest.warns(UserWarning, match="has 30 of them and lacks 30"):  # half is enough
        features, _ = fitted.transform(without(source(), names[:30]))
    assert np.isfinite(features).all()
    with pytest.raises(ValueError, match=r"has 29 of them and lacks 31.*At least 50% are needed.*named alike"):
        fitted.transform(without(source(), names[:31]))
    assert fitted.missing_genes(names[31:]) == names[:31]
    assert not fitted.shares_enough(names[:31])


# several sections


def two_sections() -> tuple[Expression, np.ndarray]:
    """Two sections of four spots, two genes, logarithms as given."""
    values = [[0, 3], [0, 1], [2, 3], [2, 1], [5, 4], [5, 4], [9, 4], [9, 4]]
    matrix = csr_matrix(np.array(values, np.float32))
    return Expression(matrix, ["up", "striped"], "log1p_cp10k", "X"), np.repeat(["a", "b"], 4)


def test_z_scores_of_each_section_by_hand():
    logged, sections = two_sections()
    fitted, features, _ = GeneFeatures.fit(logged, n_pcs=2, sections=sections)
    _, scaling = fitted.transform(logged, sections)
    assert scaling.mean.tolist() == [[1, 2], [7, 4]]
    assert scaling.std.tolist() == [[1, 1], [2, 1]]  # the second gene does not vary in the second section
    assert (fitted.mean.tolist(), fitted.std.tolist()) == ([4, 3], [1.5, 1])
    expected = [[-1, 1], [-1, -1], [1, 1], [1, -1], [-1, 0], [-1, 0], [1, 0], [1, 0]]
    np.testing.assert_allclose(features @ fitted.components, expected, atol=1e-5)  # both PCs of two genes: a rotation
    np.testing.assert_allclose(inverse(fitted, logged, sections=sections), logged.matrix.toarray(), atol=1e-5)


def test_one_scaling_where_no_section_is_named():
    logged, _ = two_sections()
    fitted, features, _ = GeneFeatures.fit(logged, n_pcs=2)
    values = logged.matrix.toarray()
    expected = (values - values.mean(axis=0)) / values.std(axis=0)
    np.testing.assert_allclose(features @ fitted.components, expected, atol=1e-5)
    assert not fitted.by_section


def test_the_order_of_the_spots_and_names_of_the_sections_do_not_matter(source):
    sections = np.repeat(["a", "b", "c"], 40)
    fitted, features, _ = GeneFeatures.fit(source(), n_pcs=5, sections=sections)
    order = np.random.default_rng(0).permutation(120)
    shuffled = dataclasses.replace(source(), matrix=source().matrix[order])
    for names in (sections, np.repeat([7, 3, 5], 40)):
        np.testing.assert_allclose(fitted.transform(shuffled, names[order])[0], features[order], atol=1e-4)


def test_a_batch_effect_on_a_whole_section_changes_nothing(source):
    """Every gene of one section is moved and stretched, as staining, kit and depth do."""
    rng = np.random.default_rng(0)
    sections = np.repeat(["a", "b"], 60)
    logged = dataclasses.replace(source(), matrix=source().normalised(), scale="log1p_cp10k")
    values = logged.matrix.toarray()
    values[60:] = values[60:] * rng.uniform(0.5, 2, 60) + rng.uniform(0, 2, 60)
    moved = dataclasses.replace(logged, matrix=csr_matrix(values.astype(np.float32)))
    fitted, features, _ = GeneFeatures.fit(logged, n_pcs=5, sections=sections)
    np.testing.assert_allclose(fitted.transform(moved, sections)[0], features, atol=1e-3)
    _, trained_on_it, _ = GeneFeatures.fit(moved, n_pcs=5, sections=sections)
    np.testing.assert_allclose(trained_on_it @ trained_on_it.T, features @ features.T, atol=0.1)
    np.testing.assert_allclose(inverse(fitted, moved, sections=sections)[60:].mean(0), values[60:].mean(0), atol=0.05)
    _, together, _ = GeneFeatures.fit(moved, n_pcs=5)
    apart = np.linalg.norm(together[:60].mean(axis=0) - together[60:].mean(axis=0))
    assert apart > 10 * np.linalg.norm(features[:60].mean(axis=0) - features[60:].mean(axis=0))


def test_a_section_seen_later_has_its_own_scaling(source):
    fitted, *_ = GeneFeatures.fit(source(), n_pcs=5, sections=np.repeat(["a", "b"], 60))
    later = source(seed=3)
    features, scaling = fitted.transform(later)
    values = later.normalised().toarray()
    np.testing.assert_allclose(scaling.mean[0], values.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=0.1)  # nothing is cut at ten standard deviations here


def test_unscaled_genes_of_several_sections(source):
    sections = np.repeat(["a", "b"], 60)
    fitted, features, _ = GeneFeatures.fit(source(), kind="hvg", sections=sections)
    np.testing.assert_array_equal(features, source().normalised().toarray())
    assert not fitted.by_section
    np.testing.assert_allclose(inverse(fitted, source(), sections=sections), features, atol=1e-5)
