"""Image embeddings in domain models: as a block of features, alone, and as weights of links."""

from dataclasses import replace

import numpy as np
import pytest
from anndata import AnnData

from histoquilt.datasets import toy_section
from histoquilt.models import SpaMask, SpaMaskConfig, SpatialFactors, SpatialFactorsConfig, load
from histoquilt.models.domains._image_block import ImageBlock, shared_variance

GENES = SpatialFactorsConfig(n_pcs=40)
KEYS = ("X_image",)


@pytest.fixture(scope="module")
def _section() -> AnnData:
    """An image of 40 columns: two follow the place, the others are noise of ten times the variance."""
    adata = toy_section(n_spots=300, n_genes=120, n_domains=3, seed=0)
    rng = np.random.default_rng(0)
    place = (adata.obsm["spatial"] - adata.obsm["spatial"].mean(axis=0)) / adata.obsm["spatial"].std(axis=0)
    columns = [place + 0.3 * rng.normal(size=place.shape), rng.normal(size=(300, 38)) * np.sqrt(10)]
    adata.obsm["X_image"] = np.concatenate(columns, axis=1)
    return adata


@pytest.fixture
def section(_section: AnnData) -> AnnData:
    return _section.copy()


def block_of(adata: AnnData, sections: np.ndarray | None = None) -> tuple[ImageBlock, np.ndarray]:
    return ImageBlock.fit(adata, KEYS, SpatialFactors(GENES).graph(adata).connectivities, sections)


def with_image(role: str, **more: object) -> SpatialFactorsConfig:
    return replace(GENES, image=role, image_keys=KEYS, **more)


def test_only_components_in_which_neighbours_agree_remain(section):
    image, block = block_of(section)
    place = section.obsm["spatial"] - section.obsm["spatial"].mean(axis=0)
    fitted = block @ np.linalg.lstsq(block, place, rcond=None)[0]
    assert 1 - ((fitted - place) ** 2).sum() / (place**2).sum() > 0.8
    assert image.components.shape[1] < 12
    np.testing.assert_allclose(image.transform(section, None), block, atol=1e-6)


def test_the_block_has_the_variance_that_neighbours_share(section):
    image, block = block_of(section)
    unscaled = image.components / np.linalg.norm(image.components, axis=0)
    np.testing.assert_allclose(unscaled.T @ unscaled, np.eye(unscaled.shape[1]), atol=1e-4)
    columns = section.obsm["X_image"] - section.obsm["X_image"].mean(axis=0)
    columns /= columns.std(axis=0) * np.sqrt(40)
    shared = shared_variance(columns @ unscaled, SpatialFactors(GENES).graph(section).connectivities)
    np.testing.assert_allclose(block.var(axis=0), shared, rtol=1e-3)


def test_shared_variance_is_the_covariance_of_neighbours(section):
    adjacency = SpatialFactors(GENES).graph(section).connectivities
    values = np.random.default_rng(1).normal(3, 2, (300, 4))
    row, column = adjacency.nonzero()
    centred = values - values.mean(axis=0)
    expected = np.maximum((centred[row] * centred[column]).mean(axis=0), 0)
    np.testing.assert_allclose(shared_variance(values, adjacency), expected)


def test_stain_of_a_section_does_not_matter(section):
    sections = np.where(np.arange(300) < 140, "a", "b")
    _, block = block_of(section, sections)
    section.obsm["X_image"][:140] = 7 + 3 * section.obsm["X_image"][:140]
    np.testing.assert_allclose(np.abs(block_of(section, sections)[1]), np.abs(block), atol=1e-3)


def test_unweighted_graphs_have_ones_and_image_edges_weights(section):
    plain = SpatialFactors(GENES).graph(section)
    weighed = SpatialFactors(with_image("edges")).graph(section)
    assert plain.weights is None
    assert weighed.connectivities.data.std() > 0.1
    np.testing.assert_array_equal(plain.connectivities.indices, weighed.connectivities.indices)
    facts = [SpatialFactors(config).fit_run(section).embedding.ravel()[:50] for config in (with_image("edges"), GENES)]
    assert not np.allclose(*facts)


def test_links_between_sections_keep_their_weight(section):
    from scipy.sparse import csr_matrix

    section.obs["part"] = np.where(np.arange(300) < 150, "a", "b")
    links = csr_matrix((np.full(2, 9.0), ([0, 299], [299, 0])), shape=(300, 300))
    model = SpatialFactors(with_image("edges"))
    outputs = model.fit_run(section, section_key="part", links=links, seed=0)
    ones = csr_matrix((np.ones(2), links.nonzero()), shape=(300, 300))
    again = SpatialFactors(with_image("edges")).fit_run(section, section_key="part", links=ones, seed=0)
    np.testing.assert_array_equal(outputs.embedding, again.embedding)


def test_an_image_joins_the_genes_and_leaves_the_denoised_ones_theirs(section):
    joined, alone = SpatialFactors(with_image("features")), SpatialFactors(GENES)
    outputs = joined.fit_run(section)
    of_genes = alone.fit_run(section)
    n_image = joined.fitted.features.image.components.shape[1]
    assert joined.fitted.features.n_features == alone.fitted.features.n_features + n_image
    values = joined.fitted.features.transform(section)[0]
    genes = joined.fitted.features.without_image(values)
    np.testing.assert_array_equal(genes, alone.fitted.features.transform(section)[0])
    image = values[:, joined.fitted.features.order >= genes.shape[1]]
    shared = shared_variance(genes, joined.graph(section).connectivities).sum()
    assert image.var(axis=0).sum() == pytest.approx(shared, rel=1e-3)
    denoised = joined.denoise_outputs(section, outputs)
    reference = alone.denoise_outputs(section, of_genes)
    assert list(denoised) == list(reference)
    assert np.corrcoef(denoised.to_numpy().ravel(), reference.to_numpy().ravel())[0, 1] > 0.95


@pytest.mark.parametrize("role", ["features", "only", "edges"])
def test_saved_models_embed_other_sections_as_before(section, role, tmp_path):
    model = SpatialFactors(with_image(role)).fit(section)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(again.embed(section), model.embed(section))
    assert "X_image" in repr(again) or role == "edges"
    del section.obsm["X_image"]
    with pytest.raises(KeyError, match=r"'X_image' is not in adata.obsm .*embed_patches"):
        again.embed(section)


def test_another_width_is_another_encoder(section):
    model = SpatialFactors(with_image("only")).fit(section)
    section.obsm["X_image"] = section.obsm["X_image"][:, :7]
    with pytest.raises(ValueError, match="fitted on 40 columns of obsm\\['X_image'\\], this section has 7"):
        model.embed(section)


def test_an_image_alone_does_not_denoise(section):
    model = SpatialFactors(with_image("only"))
    outputs = model.fit_run(section)
    assert model.genes == []
    with pytest.raises(ValueError, match=r"fitted on obsm\['X_image'\], not on genes"):
        model.denoise_outputs(section, outputs)


def test_a_network_takes_image_features(section):
    config = SpaMaskConfig(n_pcs=20, max_epochs=1, image="features", image_keys=KEYS)
    model = SpaMask(config).fit(section, progress=False)
    assert model.training_facts["n_features"] > 20
    assert not SpaMask.weighs_links


@pytest.mark.parametrize("role", ["edges", "features", "only"])
def test_an_image_that_shows_nothing(section, role):
    section.obsm["X_image"] = np.random.default_rng(2).normal(size=(300, 3))
    words = "no more alike in the image embedding"
    if role == "only":
        with pytest.raises(ValueError, match=words):
            SpatialFactors(with_image(role)).fit(section)
        return
    with pytest.warns(UserWarning, match=words):
        outputs = SpatialFactors(with_image(role)).fit_run(section)
    np.testing.assert_allclose(outputs.embedding, SpatialFactors(GENES).fit_run(section).embedding, atol=1e-5)


@pytest.mark.parametrize("role", ["edges", "features", "only"])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda values: np.where(np.arange(300)[:, None] < 4, np.nan, values), "infinite values in 4 of 300 spots"),
        (lambda values: np.ones_like(values), "is the same in all 300 spots"),
        (lambda values: values[:, :0], r"must be an image embedding \(n_spots, n_features\), got \(300, 0\)"),
    ],
    ids=["nan", "constant", "empty"],
)
def test_embeddings_that_cannot_be(section, role, spoil, words):
    section.obsm["X_image"] = spoil(section.obsm["X_image"])
    with pytest.raises(ValueError, match=words):
        SpatialFactors(with_image(role)).fit(section)


def test_an_image_needs_its_keys():
    with pytest.raises(ValueError, match="image='edges' needs image_keys"):
        SpatialFactorsConfig(image="edges")
    with pytest.raises(ValueError, match="image must be 'edges', 'features' or 'only'"):
        SpatialFactorsConfig(image="nodes", image_keys=KEYS)
